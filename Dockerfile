# The sidecar's image: compiled JavaScript, production packages without what only builds and browsers need, no build tools, not root.
#   docker build -t outrider .
#   docker run --rm -v ./policies:/p:ro outrider policy check /p
ARG NODE_IMAGE=node:26-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# The Node of the image does the work here; the one that is pinned for development need not arrive.
RUN npm ci --ignore-scripts --loglevel=error
COPY tsconfig.json tsconfig.build.json ./
COPY tasks tasks
COPY src src
RUN sh tasks/build.sh && rm dist/.built
RUN npm prune --omit=dev --ignore-scripts --loglevel=error && sh tasks/strip-packages.sh

FROM ${NODE_IMAGE}
ARG NODE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="outrider" \
  org.opencontainers.image.description="A service-mesh sidecar for gRPC: mTLS, deadlines, retries, circuit breakers and a reason for every failed call." \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.base.name="${NODE_IMAGE}"
WORKDIR /opt/outrider
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY package.json LICENSE ./
COPY bin bin
COPY proto proto
COPY policies policies
# A new volume takes the owner of the folder that it covers: "outrider certs init" can write there without being root.
RUN ln -s /opt/outrider/bin/outrider /usr/local/bin/outrider \
  && install -d -o node -g node /etc/outrider/authority /etc/outrider/certs
ENV NODE_ENV=production
USER node
# 50051 inbound (mTLS), 15001 outbound (loopback only), 9901 admin (loopback only, unless ADMIN_ADDRESS says otherwise).
EXPOSE 50051
# The launcher becomes the Node process (exec): SIGTERM reaches process 1 and drains. It starts no children, so there is nothing to reap.
ENTRYPOINT ["outrider"]
CMD ["sidecar"]
# A shell without children: 3 ms of CPU where a Node would take 35, and 45 MB of memory that counts as the container's. A start interval, which
# older builders do not know, is for whoever runs it to set.
HEALTHCHECK --interval=5s --timeout=2s --start-period=60s --retries=2 CMD ["/opt/outrider/bin/healthcheck"]
