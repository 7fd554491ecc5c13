# refused_options.sh - options of qemu-img that qcbm does not have are refused clearly
# SPDX-License-Identifier: MIT
make_image
fails unchanged image.qcow2 qcbm bitmap --image-opts --add driver=qcow2,file.filename=image.qcow2 new
fails unchanged image.qcow2 qcbm bitmap --object secret,id=s,data=x --add image.qcow2 new
fails unchanged image.qcow2 qcbm bitmap --add -f raw image.qcow2 new
fails unchanged image.qcow2 qcbm bitmap --merge b0 -b image.qcow2 -F raw image.qcow2 frozen
