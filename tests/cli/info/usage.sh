# usage.sh - what of the file is in use, without the chain
# SPDX-License-Identifier: MIT
fixture ten-overlay
rm base.qcow2
json "v['usage'] == {'allocated-bytes': 1376256, 'end-offset': 1376256, 'file-size': 1376256}" \
    qcbm info --usage --output=json overlay.qcow2
fails qcbm info --backing-chain overlay.qcow2
