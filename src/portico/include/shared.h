// What several libraries of one process, and cling, have in common.
#ifndef PORTICO_SHARED_H
#define PORTICO_SHARED_H

// A function of which there is one in the process, although libraries keep what they define to themselves: that of the
// library that was loaded first. For cling, which would compile its own, it is declared only (PORTICO_LOADED_...).
#define PORTICO_SHARED __attribute__((noinline, visibility("default"))) inline

#endif
