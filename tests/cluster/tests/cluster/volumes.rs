//! What pods see of `ConfigMaps`, Secrets, tokens and themselves. Changes when a kind of volume is added.

use anyhow::Result;
use bridge_cluster::Cluster;

use super::pods::until_phase;

pub(crate) async fn a_pod_sees_its_volumes(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("volumes").await?;
    cluster.apply(VOLUMES).await?;
    until_phase(cluster, "volumes", "reader", "Succeeded").await
}

const VOLUMES: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: volumes}
data: {color: green, shape: round}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: volumes}
stringData: {password: secret, unused: x}
---
apiVersion: v1
kind: Pod
metadata: {name: reader, namespace: volumes, labels: {app: reader}}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 65532, runAsGroup: 65532, fsGroup: 3000, runAsNonRoot: true}
  initContainers:
    - name: first
      image: shell
      args: [-ec, "echo from-init >/scratch/file"]
      volumeMounts: [{name: scratch, mountPath: /scratch}]
  containers:
    - name: main
      image: shell
      securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false}
      workingDir: /scratch
      env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
        - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
        - {name: ABSENT, valueFrom: {secretKeyRef: {name: keys, key: absent, optional: true}}}
        - {name: SENTENCE, value: "$(POD_NAME) is $(COLOR) $$(COLOR)"}
        - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
      envFrom: [{prefix: CM_, configMapRef: {name: settings}}]
      resources: {limits: {memory: 64Mi}}
      args:
        - -exc
        - |
          test "$(cat file)" = from-init; test "$PWD" = /scratch; echo mine >mine
          test "$POD_NAME/$APP/$COLOR/$PASSWORD/${ABSENT-unset}/$MEMORY/$CM_shape" = reader/reader/green/secret/unset/64/round
          test "$SENTENCE" = 'reader is green $$(COLOR)'
          test "$(cat /settings/color)" = green; test "$(cat /one)" = round
          test "$(cat /keys/sub/pass)" = secret; test ! -e /keys/unused
          grep -qx 'app="reader"' /all/labels; test "$(cat /all/color)" = green
          token=$(cat /all/token); test "${token#*.*.}" != "$token"
          grep -q 'BEGIN CERTIFICATE' /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
          test "$(cat /var/run/secrets/kubernetes.io/serviceaccount/namespace)" = volumes
          test "$(id -u):$(id -g)" = 65532:65532; id -G | grep -qw 3000
          ! (: >/etc/anything) 2>&1; ! (: >/settings/anything) 2>&1
      volumeMounts:
        - {name: scratch, mountPath: /scratch}
        - {name: settings, mountPath: /settings}
        - {name: settings, mountPath: /one, subPath: shape}
        - {name: keys, mountPath: /keys, readOnly: true}
        - {name: all, mountPath: /all}
  volumes:
    - {name: scratch, emptyDir: {}}
    - {name: settings, configMap: {name: settings}}
    - {name: keys, secret: {secretName: keys, defaultMode: 0o400, items: [{key: password, path: sub/pass}]}}
    - name: all
      projected:
        sources:
          - serviceAccountToken: {audience: somebody, expirationSeconds: 600, path: token}
          - configMap: {name: settings, items: [{key: color, path: color}]}
          - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
"#;

pub(crate) async fn a_changed_secret_reaches_a_running_pod(cluster: &'static Cluster) -> Result<()> {
    cluster.namespace("updates").await?;
    let secret = |value: &str| {
        format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: key, namespace: updates}}, stringData: {{key: {value}}}}}"
        )
    };
    cluster.apply(&secret("old")).await?;
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: waits, namespace: updates}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: shell
      args: [-ec, "grep -q old /key/key; until grep -q new /key/key; do sleep 0.1; done"]
      volumeMounts: [{name: key, mountPath: /key}]
  volumes: [{name: key, secret: {secretName: key}}]
"#;
    cluster.apply(pod).await?;
    until_phase(cluster, "updates", "waits", "Running").await?;
    cluster.apply(&secret("new")).await?;
    until_phase(cluster, "updates", "waits", "Succeeded").await
}
