#!/bin/sh
# Installs the Debian packages that are missing, with `peers` also those of the tests, as root; else says what to run.
set -eu

python=${PYTHON:-python3}
missing=
command -v git >/dev/null 2>&1 || missing="$missing git"
command -v make >/dev/null 2>&1 || missing="$missing make"
# ensurepip is what Debian keeps apart from python3; any other Python brings it along
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$missing python3-venv"
# what the two small libraries in C are built with
"$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' >/dev/null 2>&1 ||
	missing="$missing python3-dev"
if ! echo '#include <stdio.h>' | gcc -fsyntax-only -xc - >/dev/null 2>&1; then
	missing="$missing gcc"
	missing="$missing libc6-dev"
fi
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"
if [ "${1:-}" = peers ]; then
	# what tests need that hold us against programs of others
	[ -e "${XENSTORED:-/usr/lib/xen-4.17/bin/xenstored}" ] || missing="$missing xen-utils-4.17"
	command -v swtpm >/dev/null 2>&1 || missing="$missing swtpm"
	command -v qemu-system-x86_64 >/dev/null 2>&1 || missing="$missing qemu-system-x86"
	command -v tpm2_pcrread >/dev/null 2>&1 || missing="$missing tpm2-tools"
	command -v tpm_sealdata >/dev/null 2>&1 || missing="$missing tpm-tools"
fi
[ -n "$missing" ] || exit 0

install="apt-get install --yes --no-install-recommends"
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
	echo "installing Debian packages:$missing"
	apt-get update
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive $install $missing
else
	echo "Missing:$missing. As root, run: apt-get update && $install$missing" >&2
	exit 1
fi
