# Images of the API, the worker, the operator and the Flickr mock: `docker build --target api .`
# Each holds one binary and the C library: no shell, no package manager, user 65532. Base images are those of their digest,
# whatever their tag means by now; Renovate proposes newer ones.

FROM docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS dependencies
WORKDIR /src
# Manifests first: while they are unchanged, the layer with the compiled dependencies is used again.
COPY Cargo.toml Cargo.lock ./
COPY flickr/Cargo.toml flickr/
COPY job/Cargo.toml job/
COPY api/Cargo.toml api/
COPY worker/Cargo.toml worker/
COPY operator/Cargo.toml operator/
COPY tests/flickr-mock/Cargo.toml tests/flickr-mock/
COPY tests/e2e/Cargo.toml tests/e2e/
COPY tests/chaos/Cargo.toml tests/chaos/
COPY tests/bench/Cargo.toml tests/bench/
COPY tests/fuzz/Cargo.toml tests/fuzz/
RUN for crate in flickr job api worker operator tests/flickr-mock tests/e2e tests/chaos tests/bench tests/fuzz; do \
      mkdir -p $crate/src && touch $crate/src/lib.rs && echo 'fn main() {}' > $crate/src/main.rs; \
    done \
 && mkdir -p job/benches && touch job/benches/group_commit.rs \
 && cargo build --locked --release -p flickrhub-api -p flickrhub-worker -p flickrhub-operator -p flickrhub-flickr-mock \
 && find . -path ./target -prune -o -name '*.rs' -print | xargs rm

FROM dependencies AS build
COPY . .
# The stand-ins above are newer than the sources: make every source file newer still.
RUN find flickr job api worker operator tests -name '*.rs' -exec touch {} + \
 && cargo build --locked --release --bins -p flickrhub-api -p flickrhub-worker -p flickrhub-operator -p flickrhub-flickr-mock

FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f AS base
USER 65532:65532
WORKDIR /

FROM base AS api
COPY --from=build /src/target/release/flickrhub-api /usr/local/bin/flickrhub-api
ENTRYPOINT ["/usr/local/bin/flickrhub-api"]

FROM base AS worker
COPY --from=build /src/target/release/flickrhub-worker /usr/local/bin/flickrhub-worker
ENTRYPOINT ["/usr/local/bin/flickrhub-worker"]

FROM base AS operator
COPY --from=build /src/target/release/flickrhub-operator /usr/local/bin/flickrhub-operator
ENTRYPOINT ["/usr/local/bin/flickrhub-operator"]

FROM base AS flickr-mock
COPY --from=build /src/target/release/flickrhub-flickr-mock /usr/local/bin/flickrhub-flickr-mock
ENTRYPOINT ["/usr/local/bin/flickrhub-flickr-mock"]
