#include "live.h"
int live_run(const char*p){(void)p;return 1;} void live_restore(void){}
