# syntax=docker/dockerfile:1
# The sidecar's image: compiled JavaScript, production packages, no build tools, not root.
ARG NODE_IMAGE=node:26-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
# The Node of the image does the work here; the one that is pinned for development need not arrive.
RUN npm ci --ignore-scripts --loglevel=error
COPY tsconfig.json tsconfig.build.json ./
COPY tasks tasks
COPY src src
RUN sh tasks/build.sh
RUN npm prune --omit=dev --ignore-scripts --loglevel=error

FROM ${NODE_IMAGE}
WORKDIR /opt/outrider
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY package.json LICENSE ./
COPY bin bin
COPY proto proto
COPY policies policies
RUN ln -s /opt/outrider/bin/outrider /usr/local/bin/outrider
ENV NODE_ENV=production
USER node
# 50051 inbound (mTLS), 15001 outbound (loopback only), 9901 admin (loopback only, unless ADMIN_ADDRESS says otherwise).
EXPOSE 50051
# The launcher becomes the Node process (exec): SIGTERM reaches it and drains.
ENTRYPOINT ["outrider"]
CMD ["sidecar"]
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.ADMIN_PORT || 9901}/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
