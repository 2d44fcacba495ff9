# The image that serves: Python, the pinned requirements and our wheel with the page in it. What builds them stays behind.

FROM python:3.13-slim AS base
# Node trusts whom the system trusts, as pip does: a mirror may stand behind a certificate of one's own.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore NODE_USE_SYSTEM_CA=1

# The page, by the Node of a Python package, and the wheel that carries it.
FROM base AS wheel
WORKDIR /build
RUN python -m venv /tools
COPY requirements/run.txt requirements/
RUN /tools/bin/pip install --quiet --require-hashes --requirement requirements/run.txt
COPY web web
COPY scripts/build_page.py scripts/
RUN /tools/bin/python scripts/build_page.py && rm -rf web/node_modules
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY src src
RUN /tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# What runs: an environment without pip, its modules compiled already, for nothing can be written later.
FROM base AS environment
RUN python -m venv --without-pip /opt/appointments
COPY requirements/image.txt /requirements.txt
RUN python -m pip --python /opt/appointments/bin/python install --quiet --require-hashes --requirement /requirements.txt
COPY --from=wheel /build/dist /dist
RUN python -m pip --python /opt/appointments/bin/python install --quiet --no-deps /dist/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="appointments" \
      org.opencontainers.image.description="An appointment service in which double booking is structurally impossible" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin appointments
COPY --from=environment /opt/appointments /opt/appointments
COPY deploy/healthcheck.py /opt/appointments/healthcheck.py
ENV PATH=/opt/appointments/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ENVIRONMENT=production \
    GRPC_BIND=0.0.0.0:50051 \
    HTTP_BIND=0.0.0.0:8080
USER 10001
EXPOSE 50051 8080
HEALTHCHECK --interval=3s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-S", "/opt/appointments/healthcheck.py"]
ENTRYPOINT ["python", "-m", "appointments"]
CMD ["serve"]
