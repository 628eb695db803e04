/* NVML as far as TensorFlow asks it whether there is a GPU. */
#include <stdio.h>

int nvmlSystemGetDriverVersion(char *text, unsigned room) { snprintf(text, room, "570.00"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { static char it; (void)index; *device = &it; return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device) { (void)id; return nvmlDeviceGetHandleByIndex_v2(0, device); }
