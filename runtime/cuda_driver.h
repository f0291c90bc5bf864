/* NVIDIA's driver, opened when it is needed, as one table. Types and signatures are as its manual gives them. */
#ifndef SSLC_RUNTIME_CUDA_DRIVER_H
#define SSLC_RUNTIME_CUDA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the driver says of a rectangle of memory (CUtensorMap). */
typedef struct {
  _Alignas(64) uint64_t word[16];
} cuda_map;

typedef int cuda_result; /* 0: good */
typedef int cuda_ordinal;
typedef uint64_t cuda_pointer;
typedef struct cuda_context_handle *cuda_context;
typedef struct cuda_module_handle *cuda_module;
typedef struct cuda_function_handle *cuda_function;
typedef struct cuda_stream_handle *cuda_stream;
typedef struct cuda_event_handle *cuda_event;
typedef struct cuda_graph_handle *cuda_graph;
typedef struct cuda_graph_exec_handle *cuda_graph_exec;

enum {
  CUDA_OUT_OF_MEMORY = 2,
  CUDA_EVENT_WITHOUT_TIME = 2,
  CUDA_STREAM_NON_BLOCKING = 1,
  CUDA_CAPTURE_THREAD = 1, /* calls of other threads do not disturb a capture */
  CUDA_FUNCTION_MOST_SHARED = 8,
  CUDA_DEVICE_CLOCK = 13,          /* kHz */
  CUDA_DEVICE_PROCESSORS = 16,
  CUDA_DEVICE_MEMORY_CLOCK = 36,   /* kHz, with two transfers each */
  CUDA_DEVICE_BUS = 37,            /* bits */
  CUDA_DEVICE_MOST_SHARED = 97, /* bytes of a block that asks for them */
  CUDA_DEVICE_MAJOR = 75,
  CUDA_DEVICE_MINOR = 76,
  CUDA_MAP_BF16 = 9, /* elements; chunks of 16 bytes swizzled in 128; memory that is read with what is near it, in bytes */
  CUDA_MAP_SWIZZLE_128 = 3,
  CUDA_MAP_PROMOTE_256 = 3
};

/* CUDA_CALL(field, "name in the library", parameters) */
#define CUDA_CALLS(CUDA_CALL)                                                                                               \
  CUDA_CALL(init, "cuInit", (unsigned flags))                                                                               \
  CUDA_CALL(driver_version, "cuDriverGetVersion", (int *version))                                                           \
  CUDA_CALL(error_text, "cuGetErrorString", (cuda_result error, const char **text))                                         \
  CUDA_CALL(count_devices, "cuDeviceGetCount", (int *n))                                                                    \
  CUDA_CALL(get_device, "cuDeviceGet", (cuda_ordinal * device, int number))                                                 \
  CUDA_CALL(device_name, "cuDeviceGetName", (char *name, int bytes, cuda_ordinal device))                                   \
  CUDA_CALL(device_attribute, "cuDeviceGetAttribute", (int *value, int attribute, cuda_ordinal device))                     \
  CUDA_CALL(retain_context, "cuDevicePrimaryCtxRetain", (cuda_context * context, cuda_ordinal device))                      \
  CUDA_CALL(release_context, "cuDevicePrimaryCtxRelease_v2", (cuda_ordinal device))                                         \
  CUDA_CALL(set_context, "cuCtxSetCurrent", (cuda_context context))                                                         \
  CUDA_CALL(free_memory, "cuMemGetInfo_v2", (size_t *free, size_t *total))                                                  \
  CUDA_CALL(allocate, "cuMemAlloc_v2", (cuda_pointer * memory, size_t bytes))                                               \
  CUDA_CALL(release, "cuMemFree_v2", (cuda_pointer memory))                                                                 \
  CUDA_CALL(allocate_host, "cuMemAllocHost_v2", (void **memory, size_t bytes))                                              \
  CUDA_CALL(release_host, "cuMemFreeHost", (void *memory))                                                                  \
  CUDA_CALL(fill_bytes, "cuMemsetD8Async", (cuda_pointer to, unsigned char value, size_t n, cuda_stream stream))            \
  CUDA_CALL(fill_words, "cuMemsetD32Async", (cuda_pointer to, unsigned value, size_t n, cuda_stream stream))                \
  CUDA_CALL(to_device, "cuMemcpyHtoDAsync_v2", (cuda_pointer to, const void *from, size_t bytes, cuda_stream stream))       \
  CUDA_CALL(to_host, "cuMemcpyDtoHAsync_v2", (void *to, cuda_pointer from, size_t bytes, cuda_stream stream))               \
  CUDA_CALL(copy, "cuMemcpyDtoDAsync_v2", (cuda_pointer to, cuda_pointer from, size_t bytes, cuda_stream stream))           \
  CUDA_CALL(load_module, "cuModuleLoadData", (cuda_module * module, const void *image))                                     \
  CUDA_CALL(unload_module, "cuModuleUnload", (cuda_module module))                                                          \
  CUDA_CALL(get_function, "cuModuleGetFunction", (cuda_function * function, cuda_module module, const char *name))          \
  CUDA_CALL(set_function, "cuFuncSetAttribute", (cuda_function function, int attribute, int value))                         \
  CUDA_CALL(launch, "cuLaunchKernel",                                                                                       \
            (cuda_function function, unsigned blocks_x, unsigned blocks_y, unsigned blocks_z, unsigned threads_x,           \
             unsigned threads_y, unsigned threads_z, unsigned shared_bytes, cuda_stream stream, void **arguments, void **extra)) \
  CUDA_CALL(create_stream, "cuStreamCreate", (cuda_stream * stream, unsigned flags))                                        \
  CUDA_CALL(destroy_stream, "cuStreamDestroy_v2", (cuda_stream stream))                                                     \
  CUDA_CALL(wait_stream, "cuStreamSynchronize", (cuda_stream stream))                                                       \
  CUDA_CALL(create_event, "cuEventCreate", (cuda_event * event, unsigned flags))                                            \
  CUDA_CALL(destroy_event, "cuEventDestroy_v2", (cuda_event event))                                                         \
  CUDA_CALL(record_event, "cuEventRecord", (cuda_event event, cuda_stream stream))                                          \
  CUDA_CALL(wait_event, "cuEventSynchronize", (cuda_event event))                                                           \
  CUDA_CALL(stream_waits, "cuStreamWaitEvent", (cuda_stream stream, cuda_event event, unsigned flags))                      \
  CUDA_CALL(begin_capture, "cuStreamBeginCapture_v2", (cuda_stream stream, int mode))                                       \
  CUDA_CALL(end_capture, "cuStreamEndCapture", (cuda_stream stream, cuda_graph * graph))                                    \
  CUDA_CALL(instantiate, "cuGraphInstantiateWithFlags", (cuda_graph_exec * out, cuda_graph graph, unsigned long long flags)) \
  CUDA_CALL(launch_graph, "cuGraphLaunch", (cuda_graph_exec graph, cuda_stream stream))                                     \
  CUDA_CALL(destroy_graph, "cuGraphDestroy", (cuda_graph graph))                                                            \
  CUDA_CALL(destroy_graph_exec, "cuGraphExecDestroy", (cuda_graph_exec graph))

/* Of newer drivers; NULL where there is none. */
#define CUDA_NEWER_CALLS(CUDA_CALL)                                                                                          \
  CUDA_CALL(encode_map, "cuTensorMapEncodeTiled",                                                                           \
            (cuda_map * map, int type, uint32_t rank, void *memory, const uint64_t *extents, const uint64_t *strides,       \
             const uint32_t *box, const uint32_t *steps, int interleave, int swizzle, int promotion, int fill))

typedef struct {
  void *library;
#define CUDA_CALL(field, name, parameters) cuda_result(*field) parameters;
  CUDA_CALLS(CUDA_CALL)
  CUDA_NEWER_CALLS(CUDA_CALL)
#undef CUDA_CALL
} cuda_driver;

/* The library that SSLC_LIBCUDA names, or libcuda.so.1. False and *error (malloc'ed): what was looked for, or what it lacks. It is
 * ready for use: cuInit was called. */
bool cuda_driver_open(cuda_driver *out, char **error);
void cuda_driver_close(cuda_driver *d);
/* Never NULL. */
const char *cuda_error_text(const cuda_driver *d, cuda_result error);

typedef struct {
  char name[128];
  unsigned capability; /* 10 * major + minor */
  int64_t free_bytes, total_bytes;
} cuda_facts;

/* Number `number` of the devices; false and *error when there is none of that number, or it cannot be used. */
bool cuda_describe(const cuda_driver *d, int number, cuda_facts *out, char **error);
/* How many there are; 0 also when the driver does not say. */
int cuda_count(const cuda_driver *d);

/* What its clocks allow a second, in f32 outside of matrix units, and to and from its memory; 0 where it does not say. */
typedef struct {
  double flops, bytes;
} cuda_speed;
void cuda_describe_speed(const cuda_driver *d, int number, cuda_speed *out);

#endif
