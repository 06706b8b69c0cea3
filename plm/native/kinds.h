// Kinds of weights in blocks (blocked.h), and whether the compiler knows the instructions for them.

#pragma once

#define RELATA_HALF 0
#define RELATA_BFLOAT16 1
#define RELATA_INT8 2
#define RELATA_SINGLE 3

// Of the kind that is compiled: whether a step is one weight, and products are in single precision.
#define RELATA_ONE_BY_ONE (RELATA_BLOCKED == RELATA_HALF || RELATA_BLOCKED == RELATA_SINGLE)

#if defined(__x86_64__)
#define RELATA_BUILDS_BLOCKS 1
#endif

// gcc learned them in version 10, clang in version 9.
#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10)
#define RELATA_BUILDS_BFLOAT16 1
#endif

// What assembles AMX came with gcc 11 and clang 11; its state is asked for from Linux.
#if defined(RELATA_BUILDS_BFLOAT16) && defined(__linux__) && \
    (defined(__clang__) ? __clang_major__ >= 11 : __GNUC__ >= 11)
#define RELATA_BUILDS_TILES 1
#endif
