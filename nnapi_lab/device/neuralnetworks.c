/* libneuralnetworks.so without Android: every entry point of NNAPI's public C interface, forwarded through a table.
 *
 * Who fills a slot of nnapi_lab_table (the simulator, through ctypes) answers that function. An empty slot answers
 * UNAVAILABLE_DEVICE, so a call that comes before the table is filled, or after it is cleared, is an error and no
 * crash. The functions are written once, in ENTRIES below; names, levels and argument types are exported from there.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define UNAVAILABLE_DEVICE 9

/* Argument types by letter. Handles and pointers are all p: what they point to is the simulator's business. */
typedef void *T_p;
typedef int32_t T_i;
typedef uint32_t T_u;
typedef uint64_t T_l;
typedef size_t T_z;
typedef float T_f;
typedef bool T_b;

/* F: answers a result code; V: answers nothing; L: takes nothing, answers a 64-bit number.
 * Then: name without its prefix, the API level it came with, its arguments. */
#define ENTRIES \
  F5(Memory_createFromFd, 27, z, i, i, z, p) \
  V1(Memory_free, 27, p) \
  F1(Model_create, 27, p) \
  V1(Model_free, 27, p) \
  F1(Model_finish, 27, p) \
  F2(Model_addOperand, 27, p, p) \
  F4(Model_setOperandValue, 27, p, i, p, z) \
  F5(Model_setOperandValueFromMemory, 27, p, i, p, z, z) \
  F6(Model_addOperation, 27, p, i, u, p, u, p) \
  F5(Model_identifyInputsAndOutputs, 27, p, u, p, u, p) \
  F2(Compilation_create, 27, p, p) \
  V1(Compilation_free, 27, p) \
  F2(Compilation_setPreference, 27, p, i) \
  F1(Compilation_finish, 27, p) \
  F2(Execution_create, 27, p, p) \
  V1(Execution_free, 27, p) \
  F5(Execution_setInput, 27, p, i, p, p, z) \
  F6(Execution_setInputFromMemory, 27, p, i, p, p, z, z) \
  F5(Execution_setOutput, 27, p, i, p, p, z) \
  F6(Execution_setOutputFromMemory, 27, p, i, p, p, z, z) \
  F2(Execution_startCompute, 27, p, p) \
  F1(Event_wait, 27, p) \
  V1(Event_free, 27, p) \
  F2(Model_relaxComputationFloat32toFloat16, 28, p, b) \
  F1(_getDeviceCount, 29, p) \
  F2(_getDevice, 29, u, p) \
  F2(Device_getName, 29, p, p) \
  F2(Device_getType, 29, p, p) \
  F2(Device_getVersion, 29, p, p) \
  F2(Device_getFeatureLevel, 29, p, p) \
  F4(Model_getSupportedOperationsForDevices, 29, p, p, u, p) \
  F3(Model_setOperandSymmPerChannelQuantParams, 29, p, i, p) \
  F4(Compilation_createForDevices, 29, p, p, u, p) \
  F3(Compilation_setCaching, 29, p, p, p) \
  F1(Execution_compute, 29, p) \
  F3(Execution_getOutputOperandDimensions, 29, p, i, p) \
  F3(Execution_getOutputOperandRank, 29, p, i, p) \
  F2(Burst_create, 29, p, p) \
  V1(Burst_free, 29, p) \
  F2(Execution_burstCompute, 29, p, p) \
  F2(Execution_setMeasureTiming, 29, p, b) \
  F3(Execution_getDuration, 29, p, i, p) \
  F2(Memory_createFromAHardwareBuffer, 29, p, p) \
  F1(Device_wait, 30, p) \
  F3(Model_setOperandValueFromModel, 30, p, i, p) \
  F2(Compilation_setPriority, 30, p, i) \
  F2(Compilation_setTimeout, 30, p, l) \
  F2(Execution_setTimeout, 30, p, l) \
  F2(Execution_setLoopTimeout, 30, p, l) \
  L0(_getDefaultLoopTimeout, 30) \
  L0(_getMaximumLoopTimeout, 30) \
  F1(MemoryDesc_create, 30, p) \
  V1(MemoryDesc_free, 30, p) \
  F4(MemoryDesc_addInputRole, 30, p, p, u, f) \
  F4(MemoryDesc_addOutputRole, 30, p, p, u, f) \
  F3(MemoryDesc_setDimensions, 30, p, u, p) \
  F1(MemoryDesc_finish, 30, p) \
  F2(Memory_createFromDesc, 30, p, p) \
  F2(Memory_copy, 30, p, p) \
  F2(Event_createFromSyncFenceFd, 30, i, p) \
  F2(Event_getSyncFenceFd, 30, p, p) \
  F5(Execution_startComputeWithDependencies, 30, p, p, u, l, p) \
  L0(_getRuntimeFeatureLevel, 31) \
  F2(Execution_enableInputAndOutputPadding, 31, p, b) \
  F2(Execution_setReusable, 31, p, b) \
  F3(Compilation_getPreferredMemoryAlignmentForInput, 31, p, u, p) \
  F3(Compilation_getPreferredMemoryPaddingForInput, 31, p, u, p) \
  F3(Compilation_getPreferredMemoryAlignmentForOutput, 31, p, u, p) \
  F3(Compilation_getPreferredMemoryPaddingForOutput, 31, p, u, p)

#define V1(name, level, a) SLOT(name, level, "v", #a)
#define L0(name, level) SLOT(name, level, "l", "")
#define F1(name, level, a) SLOT(name, level, "i", #a)
#define F2(name, level, a, b) SLOT(name, level, "i", #a #b)
#define F3(name, level, a, b, c) SLOT(name, level, "i", #a #b #c)
#define F4(name, level, a, b, c, d) SLOT(name, level, "i", #a #b #c #d)
#define F5(name, level, a, b, c, d, e) SLOT(name, level, "i", #a #b #c #d #e)
#define F6(name, level, a, b, c, d, e, f) SLOT(name, level, "i", #a #b #c #d #e #f)

#define SLOT(name, level, result, arguments) SLOT_##name,
enum { ENTRIES SLOTS };
#undef SLOT

/* "Model_create 27 i p" and so on, in the order of the table. */
#define SLOT(name, level, result, arguments) #name " " #level " " result " " arguments,
EXPORT const char *const nnapi_lab_slots[SLOTS + 1] = {ENTRIES 0};
#undef SLOT

EXPORT void *nnapi_lab_table[SLOTS];

static void *slot(int number) { return __atomic_load_n(&nnapi_lab_table[number], __ATOMIC_ACQUIRE); }

#undef V1
#undef L0
#undef F1
#undef F2
#undef F3
#undef F4
#undef F5
#undef F6
#define FORWARD(name, types, arguments) { \
    int(*answer) types = slot(SLOT_##name); \
    return answer ? answer arguments : UNAVAILABLE_DEVICE; \
  }
#define V1(name, level, a) EXPORT void ANeuralNetworks##name(T_##a x) { \
    void (*answer)(T_##a) = slot(SLOT_##name); \
    if (answer) answer(x); \
  }
#define L0(name, level) EXPORT uint64_t ANeuralNetworks##name(void) { \
    uint64_t (*answer)(void) = slot(SLOT_##name); \
    return answer ? answer() : 0; \
  }
#define F1(name, level, a) EXPORT int ANeuralNetworks##name(T_##a u) FORWARD(name, (T_##a), (u))
#define F2(name, level, a, b) EXPORT int ANeuralNetworks##name(T_##a u, T_##b v) \
    FORWARD(name, (T_##a, T_##b), (u, v))
#define F3(name, level, a, b, c) EXPORT int ANeuralNetworks##name(T_##a u, T_##b v, T_##c w) \
    FORWARD(name, (T_##a, T_##b, T_##c), (u, v, w))
#define F4(name, level, a, b, c, d) EXPORT int ANeuralNetworks##name(T_##a u, T_##b v, T_##c w, T_##d x) \
    FORWARD(name, (T_##a, T_##b, T_##c, T_##d), (u, v, w, x))
#define F5(name, level, a, b, c, d, e) \
  EXPORT int ANeuralNetworks##name(T_##a u, T_##b v, T_##c w, T_##d x, T_##e y) \
    FORWARD(name, (T_##a, T_##b, T_##c, T_##d, T_##e), (u, v, w, x, y))
#define F6(name, level, a, b, c, d, e, f) \
  EXPORT int ANeuralNetworks##name(T_##a u, T_##b v, T_##c w, T_##d x, T_##e y, T_##f z) \
    FORWARD(name, (T_##a, T_##b, T_##c, T_##d, T_##e, T_##f), (u, v, w, x, y, z))

ENTRIES
