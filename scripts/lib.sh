# Shared by the scripts; not run by itself. Debian packages that are missing are installed, as root or through sudo.

BUILD_PACKAGES="build-essential ca-certificates pkg-config
    libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev"
RUN_PACKAGES="gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    gstreamer1.0-libav glib-networking"
# The simulated cameras encode their footage with x264 and x265 in ffmpeg, once; their sound with what is above.
SIM_PACKAGES="ffmpeg openssl gstreamer1.0-plugins-ugly"
# RTSP servers that tests/it/servers.rs records (one more, in Python, goes into a virtual environment). Chromium and npm may
# come from elsewhere: scripts/test installs them only where they are missing.
TEST_PACKAGES="curl vlc-bin vlc-plugin-base librtsp-server-perl python3-venv"

need() {
    missing=""
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    echo "installing:$missing"
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
}

need_cargo() {
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null 2>&1 && return 0
    echo "cargo is missing: install Rust 1.94 or later with rustup (https://rustup.rs), Debian's is too old" >&2
    exit 1
}
