#!/usr/bin/env bash
# Reads the files of deploy/ with the parsers of those who will read them: kubectl kustomize and the
# types of Kubernetes, and docker compose's own loader. Needs kubectl, Go and its module proxy.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

command -v kubectl >/dev/null || fail "kubectl is not installed"
command -v go >/dev/null || fail "go is not installed (Debian: golang)"
mkdir -p "$CARGO_TARGET_DIR"
export KUSTOMIZED="$CARGO_TARGET_DIR/kustomized.yaml"
kubectl kustomize deploy/kubernetes >"$KUSTOMIZED"
cd tests/manifests
step go test -count 1 -v ./...
