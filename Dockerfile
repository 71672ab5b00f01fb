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
# A new volume takes the owner of the folder that it covers: "outrider certs init" can write there without being root.
RUN ln -s /opt/outrider/bin/outrider /usr/local/bin/outrider \
  && install -d -o node -g node /etc/outrider/authority /etc/outrider/certs
ENV NODE_ENV=production
USER node
# 50051 inbound (mTLS), 15001 outbound (loopback only), 9901 admin (loopback only, unless ADMIN_ADDRESS says otherwise).
EXPOSE 50051
# The launcher becomes the Node process (exec): SIGTERM reaches it and drains.
ENTRYPOINT ["outrider"]
CMD ["sidecar"]
# http, not fetch: it starts in half the time. A listener on all interfaces is asked on loopback.
HEALTHCHECK --interval=5s --timeout=2s --start-period=5s \
  CMD ["node", "-e", "const { ADMIN_ADDRESS: a, ADMIN_PORT: p } = process.env; require('node:http').get({ host: !a || a === '0.0.0.0' || a === '::' ? '127.0.0.1' : a, port: p || 9901, path: '/ready' }, (r) => process.exit(r.statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
