#!/usr/bin/env bash
# Builds the Debian package: $CARGO_TARGET_DIR/deb/tenure_VERSION_ARCHITECTURE.deb.
#
# TENURED and TENURECTL name programs to pack; without them both are built, optimised.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

command -v dpkg-deb >/dev/null || fail "dpkg-deb is not installed (Debian: dpkg)"
if [[ -z "${TENURED:-}" || -z "${TENURECTL:-}" ]]; then
    bash .ci/build.sh
    TENURED="$CARGO_TARGET_DIR/release/tenured"
    TENURECTL="$CARGO_TARGET_DIR/release/tenurectl"
fi

version="$("$TENURED" --version | sed -n 's/^tenured Version: //p')"
architecture="$(dpkg --print-architecture)"
out="$CARGO_TARGET_DIR/deb"
mkdir -p "$out"
root="$(mktemp -d "$out/root.XXXXXX")"
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

# install_file MODE FROM TO
install_file() {
    install -D -m "$1" "$2" "$root$3"
}

# The programs, without symbols: those of a crash are in the build directory.
pack_programs() {
    local program
    for program in "$TENURED" "$TENURECTL"; do
        install_file 755 "$program" "/usr/bin/$(basename "$program")"
    done
    if command -v strip >/dev/null; then
        strip --strip-unneeded "$root"/usr/bin/*
    fi
}

pack_settings() {
    install_file 640 deploy/config/server.toml /etc/tenure/server.toml
    install_file 644 deploy/debian/default /etc/default/tenured
    printf '%s\n' /etc/tenure/server.toml /etc/default/tenured >"$root/DEBIAN/conffiles"
    install -d "$root/usr/lib/systemd/system"
    sed 's|/usr/local/bin|/usr/bin|' deploy/systemd/tenured.service \
        >"$root/usr/lib/systemd/system/tenured.service"
    install_file 644 deploy/debian/sysusers /usr/lib/sysusers.d/tenure.conf
}

# manual_page SECTION NAME SUMMARY: a page from what the program says of itself.
manual_page() {
    local directory="$root/usr/share/man/man$1"
    mkdir -p "$directory"
    {
        printf '.TH %s %s "" "tenure %s"\n' "${2^^}" "$1" "$version"
        printf '.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n.nf\n' "$2" "$3"
        "$root/usr/bin/$2" --help | sed -e 's/\\/\\e/g' -e "s/^[.']/\\\\\&&/" -e 's/-/\\-/g'
        printf '.fi\n.SH SEE ALSO\n/usr/share/doc/tenure\n'
    } | gzip -9n >"$directory/$2.$1.gz"
}

pack_documents() {
    local documents=/usr/share/doc/tenure page
    install_file 644 deploy/debian/copyright "$documents/copyright"
    install -d "$root$documents/operations"
    gzip -9nc docs/CHANGELOG.md >"$root$documents/changelog.gz"
    for page in docs/configuration.md docs/errors.md docs/metrics.md docs/operations/*.md; do
        gzip -9nc "$page" >"$root$documents/${page#docs/}.gz"
    done
    manual_page 8 tenured "a node of a coordination service that speaks etcd's API"
    manual_page 1 tenurectl "command line of the tenure coordination service"
    install -d "$root/usr/share/bash-completion/completions"
    "$root/usr/bin/tenurectl" completion bash \
        >"$root/usr/share/bash-completion/completions/tenurectl"
}

# The libraries that the programs are linked with, and the versions that they need.
dependencies() {
    local scratch
    if ! command -v dpkg-shlibdeps >/dev/null; then
        echo "libc6, libgcc-s1, libstdc++6"
        return
    fi
    scratch="$(mktemp -d "$out/deps.XXXXXX")"
    mkdir "$scratch/debian"
    printf 'Source: tenure\n\nPackage: tenure\nArchitecture: any\n' >"$scratch/debian/control"
    (cd "$scratch" && dpkg-shlibdeps -O "$root"/usr/bin/* 2>/dev/null) |
        sed -n 's/^shlibs:Depends=//p'
    rm -rf "$scratch"
}

write_control() {
    local size
    size="$(du -sk --exclude=DEBIAN "$root" | cut -f1)"
    {
        printf 'Package: tenure\nVersion: %s\nArchitecture: %s\n' "$version" "$architecture"
        printf 'Maintainer: the authors of tenure <tenure@localhost>\n'
        printf 'Installed-Size: %s\nDepends: passwd, %s\n' "$size" "$(dependencies)"
        printf 'Section: net\nPriority: optional\n'
        cat deploy/debian/description
    } >"$root/DEBIAN/control"
    local script
    for script in postinst prerm postrm; do
        install -m 755 "deploy/debian/$script" "$root/DEBIAN/$script"
    done
    (cd "$root" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
}

mkdir "$root/DEBIAN"
pack_programs
pack_settings
pack_documents
write_control
package="$out/tenure_${version}_$architecture.deb"
step dpkg-deb --build --root-owner-group "$root" "$package"
