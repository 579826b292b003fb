#!/usr/bin/env bash
# Makes the quick start's text: scripts/fetch_dialogue.sh [--all] OUT
#
# Fetches real English dialogue, the campaign "Heir to the Throne" of the game Battle for Wesnoth (13 MB; --all: all of
# its campaigns, 132 MB), with apt-get download, which needs no root, unpacks it into build/deps/dialogue without
# installing anything, and turns it into BlockML in OUT/<category>/*.blockml. The campaigns are GPL-2 or later; their
# text stays in the build folder and is not part of this project.
# Where apt has no such package or cannot reach it, the scenes of configs/quickstart/data, written for this project, are
# copied to OUT instead, and the script says so. Some headers of --all need a sequence_len of 2048 or more.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
campaigns='httt'
case "${1:-}" in
  --all) campaigns='[a-z]+'; shift ;;
  -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
esac
[ $# -eq 1 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
work=$top/build/deps/dialogue

# Names of the newest version's campaign packages; core, data, music, server, tools are not campaigns.
campaign_packages() {
  command -v apt-cache >/dev/null || return 0
  local all version no_campaign='-(core|data|music|server|tools)$'
  all=$(apt-cache search -n "^wesnoth-[0-9.]+-$campaigns\$" | cut -d' ' -f1 | grep -vE -- "$no_campaign" || true)
  version=$(printf '%s\n' "$all" | sed -nE 's/^wesnoth-([0-9.]+)-.*/\1/p' | sort -V | tail -1)
  [ -z "$version" ] || printf '%s\n' "$all" | grep -F "wesnoth-$version-" | sort
}

# Downloads and unpacks one package into $work, once; apt verifies its hash.
fetch_package() {
  local package=$1 part=$work/$1.part
  [ ! -d "$work/$package" ] || return 0
  rm -rf "$part"
  mkdir -p "$part/unpacked"
  local as_user=()
  [ "$(id -u)" -ne 0 ] || as_user=(-o APT::Sandbox::User=root) # apt's own user may not enter this folder
  (cd "$part" && apt-get "${as_user[@]}" -q download "$package") || return 1
  dpkg-deb -x "$part"/*.deb "$part/unpacked" || return 1
  mv "$part/unpacked" "$work/$package"
  rm -rf "$part"
}

fetch_campaigns() {
  local packages package
  command -v dpkg-deb >/dev/null || { echo "  dpkg-deb is missing: not a Debian or Ubuntu system"; return 1; }
  packages=$(campaign_packages)
  if [ -z "$packages" ] && [ "$(id -u)" -eq 0 ]; then
    echo "  apt knows no package wesnoth-<version>-httt; refreshing its lists"
    apt-get -qq update || true
    packages=$(campaign_packages)
  fi
  if [ -z "$packages" ]; then
    echo "  apt knows no package wesnoth-<version>-httt; if its lists are old or empty: sudo apt-get update"
    return 1
  fi
  for package in $packages; do
    echo "  package $package -> $work/$package"
    fetch_package "$package" || { echo "  could not fetch $package"; return 1; }
    wanted+=("$work/$package")
  done
}

mkdir -p "$work"
wanted=()
if fetch_campaigns; then
  python3 "$top/scripts/wesnoth_to_blockml.py" --campaigns "${wanted[@]}" --out "$out" --held-out 8
else
  echo "  Using the scenes written for this project instead: configs/quickstart/data (smaller, so the losses differ)."
  rm -rf "$out"/{low,mid,high,top,top-pg13,held_out}
  cp -r "$top"/configs/quickstart/data/. "$out/"
fi
python3 "$top/scripts/wesnoth_to_blockml.py" --check "$out"
