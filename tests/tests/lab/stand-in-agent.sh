#!/bin/sh
# Behaves to the lab as the agent does; for the lab's own tests only.
set -eu
case "$1" in
gateway)
  echo "$@" >&2
  case "$*" in *bad.yaml*) echo "bad.yaml: empty" >&2; exit 1 ;; esac
  trap 'exit 0' TERM
  echo ready >&2
  echo later >&2
  while :; do sleep 0.05; done ;;
detach)
  while [ "$1" != --netns ]; do shift; done
  lab=$(basename "$2" -gw)
  : >"${TMPDIR:-/tmp}/$lab/detached" ;;
*)
  printf '[{"command":"%s"}]\n' "$1" ;;
esac
