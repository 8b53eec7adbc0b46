// The thread pool behind run_blocks() (base/kernel.h).
#pragma once

namespace nonet {

// Threads that take part in a parallel region, the calling one included: NONET_NUM_THREADS, else the cores this
// process may run on.
int num_threads();
// Errors: ValueError unless 1 <= count <= 1024. Waits for a region under way.
void set_num_threads(int count);

}  // namespace nonet
