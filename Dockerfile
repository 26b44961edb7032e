# The workflow and what it needs, in the versions of requirements.lock, without a GPU.
#   docker build -t moesimvae .
#   docker run --rm -v "$PWD/results:/home/moesimvae/clone/results" moesimvae demo
# Files in results/ belong to user 1000; where `id -u` says another: --build-arg USER_ID=$(id -u)
# ClustPy needs other versions: docker build --build-arg FAMILY=clustpy -t moesimvae-clustpy .
FROM python:3.11-slim-bookworm
ARG FAMILY=""
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG USER_ID=1000
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 VIRTUAL_ENV=/opt/moesimvae
# ClustPy is built from source
RUN if [ -n "$FAMILY" ]; then apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; fi
# Apptainer runs as whoever calls it and may hide /home: the environment lies elsewhere
RUN useradd --create-home --uid "$USER_ID" moesimvae && install -d -o moesimvae "$VIRTUAL_ENV" /home/moesimvae/clone
USER moesimvae
WORKDIR /home/moesimvae/clone
COPY --chown=moesimvae . .
RUN python -m venv "$VIRTUAL_ENV"
ENV PATH=$VIRTUAL_ENV/bin:$PATH
RUN if [ -n "$FAMILY" ]; then pip install -r "envs/$FAMILY.lock" && pip install --no-deps .; else pip install -c requirements.lock '.[benchmark,cluster]'; fi
RUN mkdir -p results && python -c "import moesimvae, torch; moesimvae.MoESimVAE"
ENTRYPOINT ["snakemake", "--cores", "all"]
