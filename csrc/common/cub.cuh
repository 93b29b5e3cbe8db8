// CUB's device-wide algorithms.
//
// Use: query the temporary storage with a null pointer, allocate, call again:
//
//   size_t bytes = 0;
//   check_cuda(cub::DeviceScan::ExclusiveSum(nullptr, bytes, in, out, n, stream), "scan");
//   ...
//   check_cuda(cub::DeviceScan::ExclusiveSum(storage, bytes, in, out, n, stream), "scan");
#pragma once

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_reduce.cuh>
#include <cub/device/device_run_length_encode.cuh>
#include <cub/device/device_scan.cuh>
#include <cub/device/device_select.cuh>
