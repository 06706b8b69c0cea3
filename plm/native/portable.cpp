// The kernels in vectors of four floats, which every processor has (SSE, NEON).

#define RELATA_NAME(name) relata_portable_##name
#define RELATA_LANES 4
#if defined(__aarch64__)
#define RELATA_ROWS 6  // of 32 registers, as on AVX-512
#else
#define RELATA_ROWS 3
#endif

#include "layer.h"
#include "masked_linear.h"
#include "readout.h"
