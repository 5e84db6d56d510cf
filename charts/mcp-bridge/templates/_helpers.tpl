{{/* Name of everything: RELEASE-operator where the release is called after the chart. At most 63 characters, as a Service has. */}}
{{- define "mcp-bridge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $release := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- printf "%s-operator" ($release | trunc 54 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods. It can never change for a release. */}}
{{- define "mcp-bridge.selectorLabels" -}}
app.kubernetes.io/name: mcp-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "mcp-bridge.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "mcp-bridge.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: control-plane
app.kubernetes.io/part-of: mcp-bridge
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The annotations of an object: (list . EXTRA). Nothing where there are none. */}}
{{- define "mcp-bridge.annotations" -}}
{{- $all := merge (dict) (index . 1) (index . 0).Values.commonAnnotations -}}
{{- with $all -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "mcp-bridge.serviceAccountName" -}}
{{- default (include "mcp-bridge.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* The reference of an image: (list . VALUES). */}}
{{- define "mcp-bridge.image" -}}
{{- $image := index . 1 -}}
{{- $name := ternary (printf "%s/%s" $image.registry $image.repository) $image.repository (ne $image.registry "") -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default (index . 0).Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "mcp-bridge.gatewaySpec" -}}
{{- with .Values.gateway.spec }}{{ toYaml . }}{{ else }}{{ .Files.Get "sample.yaml" }}{{ end -}}
{{- end -}}
