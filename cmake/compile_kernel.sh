#!/bin/sh
# compile_kernel.sh REPORT COMMAND...: runs nvcc, writes what ptxas says of each kernel to REPORT, and shows the rest.
report=$1
shift
status=0
"$@" 2>"$report.new" || status=$?
grep -v -e '^ptxas info' -e 'bytes stack frame' "$report.new" >&2
if [ "$status" -eq 0 ]; then
  mv "$report.new" "$report"
else
  rm -f "$report.new"
fi
exit "$status"
