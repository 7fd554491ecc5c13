# not_qcow2.sh - another format is refused
# SPDX-License-Identifier: MIT
printf 'QFI' >short
head -c 65536 /dev/zero >raw
: >empty
mkfifo pipe
for file in short raw empty pipe . missing; do
    fails qcbm info "$file"
    fails qcbm info --output=json -U "$file"
done
