/* Stands in for libggml-sycl.so: gives the CPU back end where this build of Ollama insists on a SYCL device. */
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

enum { CPU_DEVICE = 0 };

extern void *ggml_backend_dev_by_type(int type);
extern void *ggml_backend_dev_init(void *device, const char *params);
extern void *ggml_backend_dev_backend_reg(void *device);
extern void *ggml_backend_reg_get_proc_address(void *reg, const char *name);
extern void *ggml_backend_cpu_buffer_type(void);

typedef void (*set_n_threads_fn)(void *backend, int threads);

void *ggml_backend_sycl_buffer_type(int device)
{
    (void)device;
    return ggml_backend_cpu_buffer_type();
}

void *ggml_backend_sycl_split_buffer_type(const float *split)
{
    (void)split;
    return ggml_backend_cpu_buffer_type();
}

void *ggml_backend_sycl_host_buffer_type(void)
{
    return ggml_backend_cpu_buffer_type();
}

int ggml_backend_sycl_get_device_count(void)
{
    return 1;
}

void *ggml_backend_sycl_init(int number)
{
    (void)number;
    void *device = ggml_backend_dev_by_type(CPU_DEVICE);
    if (!device)
        return NULL;
    void *backend = ggml_backend_dev_init(device, NULL);
    if (!backend)
        return NULL;
    set_n_threads_fn set_n_threads = (set_n_threads_fn)ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(device), "ggml_backend_set_n_threads");
    if (set_n_threads)
        set_n_threads(backend, (int)sysconf(_SC_NPROCESSORS_ONLN));
    return backend;
}

int ggml_backend_is_sycl(void *backend)
{
    (void)backend;
    return 0;
}
