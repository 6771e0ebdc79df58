#!/bin/bash
# bindings.sh: what the READMEs of the bindings say, done: the wheel is built and installed, its tests and its example
# run; Kotlin and Swift are generated, Kotlin is compiled and checked on the JVM; an Android library is linked.
#
# Needs INKSTONE and INKSTONE_MATERIALS, and PyPI's maturin, uniffi-bindgen and NumPy. Kotlin's part needs a JVM, Debian's
# libjna-java (or JNA: the jar) and npm, from which the compiler comes (or KOTLIN: a folder with its jars). What is
# generated lies in CARGO_TARGET_DIR/bindings.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
target=$CARGO_TARGET_DIR
inkstone=${INKSTONE:-$target/release/inkstone}
materials=${INKSTONE_MATERIALS:-../shared/materials}
jna=${JNA:-/usr/share/java/jna.jar}
compiler=2.4.20
venv=$target/bindings-venv
generated=$target/bindings
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
story=$work/story.ink
text="Once upon a time"
gguf=$(cd "$materials" && pwd)/models/stories260K-f32.gguf
"$inkstone" -q convert "$gguf" --weights q4 -o "$story" > /dev/null
"$inkstone" -q run "$story" "$text" --temp 0 -n 64 > "$work/printed"

# `began` and `took WHAT`: how long a part took.
began() { start=$SECONDS; }
took() { echo "bindings: $1 ($((SECONDS - start)) s)"; }

began
python3 -m venv --clear "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install ./runtime/bindings numpy "$(grep -o 'uniffi-bindgen==[0-9.]*' runtime/bindings/pyproject.toml)"
took "the wheel is installed"
began
INKSTONE_STORY=$story INKSTONE_GGUF=$gguf INKSTONE=$inkstone \
  "$venv/bin/python" -B -m unittest discover -s runtime/bindings/python/tests
"$venv/bin/python" examples/python/answer.py "$story" "$text" --limit 64 > "$work/answer" 2> /dev/null
diff -bB "$work/answer" "$work/printed"
took "Python streams what the program prints"

library=$("$venv/bin/python" -c 'import inkstone._native as native, pathlib; print(*pathlib.Path(native.__file__).parent.glob("*inkstone_bindings*"))')
rm -rf "$generated"
for language in kotlin swift; do
  "$venv/bin/uniffi-bindgen" generate --language $language --no-format --metadata-no-deps --out-dir "$generated/$language" "$library"
done
cp runtime/bindings/kotlin/*.kt "$generated/kotlin/inkstone/"
cp runtime/bindings/swift/*.swift "$generated/swift/"
echo "bindings: Kotlin and Swift are in $generated; Swift is not compiled here"

# Where the Kotlin compiler's jars are, from npm if need be.
compiler_jars() {
  local home=$target/kotlin-$compiler
  [ -z "${KOTLIN:-}" ] || { echo "$KOTLIN"; return; }
  if [ ! -e "$home/package/lib/kotlin-compiler.jar" ]; then
    mkdir -p "$home"
    (cd "$home" && npm pack --silent "kotlin-compiler@$compiler" > /dev/null && tar xzf kotlin-compiler-*.tgz && rm kotlin-compiler-*.tgz) || return
  fi
  echo "$home/package/lib"
}

kotlin() {
  local lib path
  lib=$(compiler_jars)
  path=$lib/kotlin-stdlib.jar:$lib/kotlinx-coroutines-core-jvm.jar:$jna
  java -cp "$lib/kotlin-compiler.jar:$path:$lib/kotlin-reflect.jar:$lib/kotlin-script-runtime.jar:$lib/annotations-13.0.jar" \
    org.jetbrains.kotlin.cli.jvm.K2JVMCompiler -no-stdlib -no-reflect -nowarn -jvm-target 17 -cp "$path" \
    -d "$work/classes" "$generated/kotlin" examples/kotlin
  run() { java -Djna.library.path="$(dirname "$library")" -cp "$work/classes:$path" "$@"; }
  run CheckKt "$story" "$work/printed"
  run AnswerKt "$story" "$text" > "$work/answer"
  cmp -n 100 "$work/answer" "$work/printed"
}

began
if ! command -v java > /dev/null || [ ! -e "$jna" ]; then
  echo "bindings: no JVM or no JNA here; Kotlin is not compiled"
elif [ -z "${KOTLIN:-}" ] && ! command -v npm > /dev/null; then
  echo "bindings: no npm and no KOTLIN here; Kotlin is not compiled"
else
  kotlin
  took "Kotlin's flows stream and are cancelled on the JVM"
fi

began
scripts/android.sh
took "Android"
