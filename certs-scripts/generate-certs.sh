#!/bin/sh
# Makes the certificates of a mesh: the authority and one certificate for each service. The work is done by "outrider certs init"; this script
# only knows where it is, and the spellings that scripts of other meshes have.
set -eu

usage() {
  cat <<'TEXT'
Usage: generate-certs.sh [--output-dir <folder>] [--valid-days <days>] [options] [services...]
       generate-certs.sh <folder>

Makes an authority where there is none yet, and a certificate for each service and for mesh-client. Needs no openssl command.

  --output-dir <folder>  folder of the certificates (default: ./certs)
  --valid-days <days>    how long the certificates of services are valid (default: 365); the authority: ten years
  --trust-domain <name>  the middle part of spiffe://<name>/service/... (default: mesh.local)
  --key-type <type>      p256 (default) or rsa
  --json                 print JSON instead of a table
  services               names of the services (default: auth-svc learner-svc event-collector-svc)

A first name that contains a "/" or begins with "." is the folder, unless --output-dir has named one before it.

Examples:
  generate-certs.sh
  generate-certs.sh --output-dir ./certs --valid-days 90 auth-svc billing-svc
  generate-certs.sh ./certs
TEXT
}

self=$0
while [ -h "$self" ]; do
  link=$(readlink "$self")
  case $link in
    /*) self=$link ;;
    *) self=$(dirname "$self")/$link ;;
  esac
done
root=$(CDPATH='' cd "$(dirname "$self")/.." && pwd -P)

# The arguments are passed on as they are; only a folder that stands alone gets its option. Each turn takes one from the front and puts it at the
# end, so that words with blanks stay whole.
left=$#
first=yes
option=
while [ "$left" -gt 0 ]; do
  word=$1
  shift
  left=$((left - 1))
  if [ -n "$option" ]; then
    option=
  else
    case $word in
      -h | --help)
        usage
        exit 0
        ;;
      --output-dir)
        option=yes
        first=
        ;;
      --output-dir=*) first= ;;
      --valid-days | --trust-domain | --key-type) option=yes ;;
      -*) ;;
      */* | .*)
        [ -z "$first" ] || set -- "$@" --output-dir
        first=
        ;;
      *) first= ;;
    esac
  fi
  set -- "$@" "$word"
done

exec "$root/bin/outrider" certs init "$@"
