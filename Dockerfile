# Static programs on nothing else. Two images, chosen by --target:
#
#   docker build --target mcp-gateway  -t ghcr.io/mcp-bridge/mcp-gateway:0.1.0 .
#   docker build --target mcp-operator -t ghcr.io/mcp-bridge/mcp-operator:0.1.0 .
#
# The toolchain is the image's own, of the version that rust-toolchain.toml names. On Alpine its target is musl, whose C
# library is linked into the programs.
FROM docker.io/library/rust:1.95.0-alpine AS build
# For the C of aws-lc-sys.
RUN apk add --no-cache ca-certificates cmake g++ make musl-dev
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crds crds
COPY dataplane dataplane
COPY operator operator
COPY tests tests
ARG BUILD_GIT_COMMIT=unknown
ARG BUILD_TIME=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release -p mcp-gateway -p mcp-operator && \
    mkdir /out && cp target/release/mcp-gateway target/release/mcp-operator /out/

FROM scratch AS base
LABEL org.opencontainers.image.vendor="MCP Bridge" \
      org.opencontainers.image.licenses="MIT"
# Authorities of the web, for https backends.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# `kubectl exec` finds the program by its name.
ENV PATH=/usr/local/bin
USER 65532:65532

FROM base AS mcp-operator
LABEL org.opencontainers.image.title="mcp-operator" \
      org.opencontainers.image.description="Kubernetes operator of MCP Bridge"
COPY --from=build /out/mcp-operator /usr/local/bin/mcp-operator
EXPOSE 9090 9443
ENTRYPOINT ["/usr/local/bin/mcp-operator"]
CMD ["run"]

FROM base AS mcp-gateway
LABEL org.opencontainers.image.title="mcp-gateway" \
      org.opencontainers.image.description="Gateway between MCP clients and MCP servers of any transport and revision"
COPY --from=build /out/mcp-gateway /usr/local/bin/mcp-gateway
EXPOSE 8080 8443 9090
ENTRYPOINT ["/usr/local/bin/mcp-gateway"]
