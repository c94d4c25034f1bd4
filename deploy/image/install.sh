#!/bin/sh
# Installs Portico into an image of Debian 12 or 13, with exactly the versions of requirements-lock.txt. The definition of
# Apptainer and the Dockerfile both run it, as root, inside the image.
# usage: install.sh SOURCE, a folder with the files of the repository that those two copy
set -eu
source=$1
prefix=/opt/portico # SITE: another place also stands in PATH of portico.def and of the Dockerfile
# SITE: what your analyses need besides, such as ,jax or ,ssh; pyproject.toml has the list. JupyterHub starts notebooks
# in the same image, so JupyterLab is in it too.
extras=facility,gateway,hepdata,kubernetes,numba,parquet,published

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# ROOT's interpreter reads the C++ headers of the system, and Portico compiles libraries with the compiler.
apt-get -qq install -y --no-install-recommends ca-certificates g++ python3-venv
apt-get clean
rm -rf /var/lib/apt/lists/*

python3 -m venv "$prefix"
install() {
    "$prefix/bin/python" -m pip --disable-pip-version-check --no-cache-dir --quiet install \
        --retries 5 --timeout 60 --constraint "$source/requirements-lock.txt" "$@"
}
install --upgrade pip
"$prefix/bin/python" -m pip --quiet uninstall --yes setuptools # Debian 12 puts it into new environments; the list has none
install "$source[$extras]" "$source/plugins/distrdf"
# portico doctor compares what is installed with the list beside Python.
cp "$source/requirements-lock.txt" "$prefix/requirements-lock.txt"
chmod 644 "$prefix/requirements-lock.txt"
