# refused.sh - nothing is written over, and a new image that fails is not there
# SPDX-License-Identifier: MIT
fixture one-bitmaps
if qcbm rescue image.qcow2; then complain "accepted without NEW"; fi
echo x >there
fails unchanged there qcbm rescue -o there image.qcow2
fails qcbm rescue -o new --cluster-size=1000 image.qcow2
fails qcbm rescue -o new missing
head -c 65536 /dev/zero >zeros
fails unchanged zeros qcbm rescue -o new zeros
echo x >new.qcbm-new
fails unchanged new.qcbm-new qcbm rescue -o new image.qcow2
fails qcbm rescue -o "" image.qcow2
fails qcbm rescue -o nowhere/new image.qcow2
echo x >report
fails unchanged report qcbm rescue --report=report -o new2 image.qcow2
[ ! -e new2 ] || complain "new2 is there"
[ ! -e new ] || complain "new is there"
