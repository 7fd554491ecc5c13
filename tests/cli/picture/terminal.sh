# terminal.sh - colours in half blocks, as many as the terminal has; letters where it has none, or nobody wants them
# SPDX-License-Identifier: MIT
fixture ten-overlay
shown() { python3 "$CLI_DIR/picture/on_terminal.py" "$@"; }
export COLORTERM='' TERM=xterm-256color LC_ALL=C.UTF-8
unset NO_COLOR COLUMNS
COLORTERM=truecolor shown 80 qcbm picture overlay.qcow2
shown 80 qcbm picture --theme=light --layout=hilbert overlay.qcow2
shown 30 qcbm picture overlay.qcow2 | sed 1,2d | head -2
for one in NO_COLOR=1 LC_ALL=C TERM=dumb TERM=xterm; do
    env "$one" "PATH=$PATH" python3 "$CLI_DIR/picture/on_terminal.py" 80 qcbm picture overlay.qcow2 >letters
    ! grep -q '\^\[' letters || complain "colours with $one"
    qcbm picture overlay.qcow2 | cmp - letters
done
