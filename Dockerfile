# Two stages: build with the shipping profile, run with nothing but the binary, as an ordinary user.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY schemas schemas
COPY proto proto
COPY server server
COPY client client
COPY integration-tests integration-tests
RUN cargo build --locked --release --package tidegate-server --bin tidegate

# The demo profile: the examples and the Python client beside the binary.
FROM python:3.11-slim-bookworm AS demo
COPY --from=build /src/target/release/tidegate /usr/local/bin/tidegate
COPY client/python /opt/tidegate/client/python
COPY examples /opt/tidegate/examples
WORKDIR /opt/tidegate
RUN pip install --no-cache-dir -r examples/flights/requirements.txt ./client/python && useradd --uid 10001 --create-home tidegate
USER tidegate
ENTRYPOINT ["python", "examples/flights/demo.py"]

FROM debian:bookworm-slim AS server
COPY --from=build /src/target/release/tidegate /usr/local/bin/tidegate
RUN useradd --uid 10001 --create-home tidegate && install -d -o tidegate -g tidegate /var/lib/tidegate
USER tidegate
VOLUME /var/lib/tidegate
EXPOSE 7407 7408
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["tidegate", "health"]
ENTRYPOINT ["tidegate"]
# A container is reached from outside it, so it binds every address; publish its ports to loopback only until authentication is configured.
CMD ["serve", "--data-dir", "/var/lib/tidegate", "--grpc-address", "0.0.0.0:7407", "--http-address", "0.0.0.0:7408", "--insecure"]
