"""The `Makefile` and `CMakeLists.txt` of a C program."""

from __future__ import annotations

_MAKEFILE = """\
# {title}
# make test    builds the library and runs its golden vectors
# make size    prints the bytes of code, constants and variables
# For another processor: make test CC=arm-none-eabi-gcc CFLAGS="..." LDFLAGS="..." RUN="qemu-..."

CFLAGS ?= -O2
STRICT = -std=c99 -Wall -Wextra -Werror -pedantic
SIZE ?= size
OBJECTS = build/{prefix}.o build/{prefix}_weights.o

all: build/lib{prefix}.a

test: build/{prefix}_test
	$(RUN) build/{prefix}_test

size: $(OBJECTS)
	$(SIZE) $(OBJECTS)

build/lib{prefix}.a: $(OBJECTS)
	$(AR) rcs $@ $(OBJECTS)

build/{prefix}_test: build/{prefix}_test.o build/lib{prefix}.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ build/{prefix}_test.o build/lib{prefix}.a $(LDLIBS)

build/%.o: %.c {prefix}.h
	@mkdir -p build
	$(CC) $(CFLAGS) $(STRICT) -c -o $@ $<

clean:
	rm -rf build

.PHONY: all test size clean
"""
_CMAKE = """\
# {title}
cmake_minimum_required(VERSION 3.12)
project({prefix} C)

add_library({prefix} STATIC {prefix}.c {prefix}_weights.c)
target_include_directories({prefix} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
target_compile_features({prefix} PUBLIC c_std_99)

if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
  enable_testing()
  add_executable({prefix}_test {prefix}_test.c)
  target_link_libraries({prefix}_test {prefix})
  add_test(NAME {prefix}_golden_vectors COMMAND {prefix}_test)
endif()
"""


def makefile(prefix: str, title: str) -> str:
    """Return the text of the `Makefile`."""
    return _MAKEFILE.format(prefix=prefix, title=title)


def cmake_lists(prefix: str, title: str) -> str:
    """Return the text of `CMakeLists.txt`."""
    return _CMAKE.format(prefix=prefix, title=title)
