/*
 * SoftHSM with a PIN that is locked, which it never does by itself: every log-in is answered with
 * CKR_PIN_LOCKED (PKCS#11 2.40, section 5.6, C_Login), everything else by the module that
 * OSGUARD_TEST_MODULE names.
 */
#include <dlfcn.h>
#include <stdlib.h>

#define CKR_GENERAL_ERROR 0x05UL
#define CKR_PIN_LOCKED 0xA4UL

/* CK_FUNCTION_LIST: a version, and 68 functions in the order of the standard. */
struct functions {
    unsigned char version[2];
    void (*function[68])(void);
};
enum { C_LOGIN = 18 };

static struct functions functions;

static unsigned long refuse(void) { return CKR_PIN_LOCKED; }

unsigned long C_GetFunctionList(struct functions **list) {
    const char *path = getenv("OSGUARD_TEST_MODULE");
    void *module = path ? dlopen(path, RTLD_NOW) : NULL;
    void *symbol = module ? dlsym(module, "C_GetFunctionList") : NULL;
    struct functions *original = NULL;
    if (!symbol || ((unsigned long (*)(struct functions **))symbol)(&original) != 0)
        return CKR_GENERAL_ERROR;
    functions = *original;
    functions.function[C_LOGIN] = (void (*)(void))refuse;
    *list = &functions;
    return 0;
}
