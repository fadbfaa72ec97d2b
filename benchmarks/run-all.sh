#!/bin/bash
# Recreates every table of benchmarks/README.md, each under its heading, and prints the machine's properties that
# they depend on. Builds once.
# Usage: benchmarks/run-all.sh [FOLDER [RUNS]] needs what the scripts that it runs need, and about 7 GB in FOLDER.
# Run nothing else meanwhile.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export TOOL=$tool BENCH=${bench#dotnet }
parent=$(dirname "$folder")
echo "# $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $(awk '/MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo) GiB"
echo
echo "$(uname -sr); $(df --output=fstype "$folder" | tail -n 1); qemu-img $qemu_version; .NET $(dotnet --list-runtimes | awk '$1 == "Microsoft.NETCore.App" { v = $2 } END { print v }'); $(date -u +%F)"
section() { # HEADING SCRIPT
    echo; echo "## $1"; echo
    "benchmarks/$2" "$parent" ${3:+"$3"}
}
section "Edits" side-by-side.sh "${2:-}"
section "Conversions" convert-side-by-side.sh "${2:-}"
section "Chain operations" chain-side-by-side.sh "${2:-}"
section "Incremental backups" backup-side-by-side.sh "${2:-}"
section "Scaling" scaling.sh "${2:-}"
