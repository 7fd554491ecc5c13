# names_refused.sh - names that leave a doubt which file is meant, or have values that QEMU refuses, are refused
# SPDX-License-Identifier: MIT
prepare() {
    qemu-img create -q -f qcow2 w 1M
    qemu-img create -q -f qcow2 w2 2M
    printf '\xef\xbf\xbd' >replacement
    cp w "$(cat replacement)"
}
refused() { # by both, in whatever words
    ! qemu-img info "$@" >/dev/null 2>&1 || complain "qemu-img takes $*"
    fails qcbm info "$@"
}
prepare
w='"file":{"driver":"file","filename":"w"}'
for name in "$w,$w" "\"file\":{\"filename\":\"w\",\"filename\":\"w2\"}" '"file":{"filename":"w\u0000x"}' '"file.filename\u0000":"w"' \
    '"file":{"filename":5}' '"file":{"filename":true}' '"file":{"filename":null}' '"file":{"filename":["w"]}' \
    '"file":{"filename":"\ud800"}' "$w," "/* */$w" "$w,\"read-only\":\"maybe\"" "$w,\"read-only\":5" "$w,\"cache-size\":\"x\"" \
    "$w,\"cache-size\":-1" "$w,\"cache-size\":1.5" "$w,\"cache\":{\"direct\":\"maybe\"}" "$w,\"cache\":{\"x\":true}" \
    "$w,\"node-name\":\"a/b\"" "$w,\"discard\":\"x\"" "$w,\"read-only\":True" "$w,'discard':'x\"'"; do
    refused "json:{\"driver\":\"qcow2\",$name}"
done
refused "json:{\"driver\":\"qcow2\",$w} x"
refused "json:{\"driver\":\"qcow2\",$w}}"
refused "json:{\"driver\":\"qcow2\",$w"
refused "json:{\"driver\":\"qcow2\",${w%?}"
for option in read-only=maybe read-only= auto-read-only=x cache-size=x cache-size=-1 cache.direct=maybe cache.x=on discard=x \
    detect-zeroes=x node-name=1a node-name= file.aio=x file.aio-max-batch=x file.locking=x l2-cache-size=x \
    refcount-cache-size=z cache-clean-interval=x lazy-refcounts=maybe overlap-check=x overlap-check.main-header=maybe \
    overlap-check.x=on pass-discard-request=maybe pass-discard-x=on file.read-only=maybe file.cache.direct=maybe; do
    refused --image-opts "driver=qcow2,file.filename=w,$option"
done
fails qcbm info "json:{\"driver\":5,$w}"
# QEMU takes the nested one, whichever comes last
fails qcbm info "json:{\"driver\":\"qcow2\",$w,\"file.filename\":\"w2\"}"
fails qcbm info "json:{\"driver\":\"qcow2\",\"file.filename\":\"w2\",$w}"
# and these are taken, with the same answer
for name in "{'driver':'qcow2','file':{'driver':'file','filename':'w'}}" " {\"driver\":\"qcow2\",$w} " \
    "{\"driver\":\"qcow2\",\"file\":{\"filename\":'\u0077'},\"file.driver\":\"file\"}" "{\"driver\":null,$w}" \
    "{\"driver\":\"qcow2\",$w,\"cache-size\":\"4M\",\"read-only\":false,\"cache\":{\"direct\":\"off\"}}"; do
    same_as_qemu_img info "json:$name"
done
for option in read-only=yes cache-size=1.5M cache.no-flush=off discard=unmap detect-zeroes=on node-name=a-b.c_1 file.aio=threads \
    file.aio-max-batch=5 file.locking=auto overlap-check=cached overlap-check.template=none overlap-check.inactive-l2=on \
    pass-discard-other=off cache-clean-interval=600 file.filename=w2 driver=qcow2; do
    same_as_qemu_img info --image-opts "driver=qcow2,file.filename=w,$option"
done
