#!/bin/sh
# For cron: remove rows of the ledger and traces older than so many days, also where the built-in cleaner is off.
#   cleanup_quota_logs.sh [DAYS] [--config FILE] [--data-dir DIR]
# DAYS is 180, or what QUOTA_CLEANUP_RETENTION_DAYS says. Exit codes: 0 done, or being done; 1 refused;
# 2 usage; 3 the database or the daemon cannot be reached.
set -eu
days=${QUOTA_CLEANUP_RETENTION_DAYS:-180}
case ${1:-} in
    "" | -*) ;;
    *) days=$1; shift ;;
esac
program=$(command -v quotaflow) || program=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)/.venv/bin/quotaflow
exec "$program" db cleanup --days "$days" "$@"
