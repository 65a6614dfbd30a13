# One image for web, event stream, worker and scheduler: the command tells which.
FROM python:3.12-slim AS build
WORKDIR /app
COPY requirements.lock requirements-node.lock package.json package-lock.json .npmrc ./
COPY pyproject.toml README.md LICENSE app.py config.py ./
COPY scripts scripts
COPY translations translations
COPY crm crm
RUN python scripts/bootstrap.py && rm -rf .cache node_modules

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home kvartal
WORKDIR /app
COPY --from=build /app /app
COPY migrations migrations
COPY templates templates
COPY static static
COPY --from=build /app/static/vendor static/vendor
ENV PATH=/app/.venv/bin:$PATH INSTANCE_DIR=/data BIND=0.0.0.0 PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2
USER kvartal
VOLUME /data
EXPOSE 8080 8081
CMD ["crm", "web"]
