/* What the C tests share: checks that name what failed, and waiting with an end. */
#ifndef SHOAL_TEST_CHECK_H
#define SHOAL_TEST_CHECK_H

#include <shoal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                            \
  do {                                                                              \
    if (!(condition)) {                                                             \
      fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
      exit(1);                                                                      \
    }                                                                               \
  } while (0)

#define CHECK_STATUS(call, expected)                                                  \
  do {                                                                                \
    shoal_status status_ = (call);                                                    \
    if (status_ != (expected)) {                                                      \
      fprintf(stderr, "%s:%d: %s gives %d (%s), not %s\n", __FILE__, __LINE__, #call, \
              (int)status_, shoal_status_text(status_), #expected);                   \
      exit(1);                                                                        \
    }                                                                                 \
  } while (0)

static const uint8_t test_secret_bytes[] = "a secret for the tests of C";

/* Used by some of the tests only. */
static inline shoal_secret test_secret(void) {
  shoal_secret secret = {test_secret_bytes, sizeof(test_secret_bytes) - 1};
  return secret;
}

static inline shoal_address test_address(const char *text) {
  shoal_address address;
  CHECK_STATUS(shoal_address_parse(text, &address), SHOAL_OK);
  return address;
}

/* Valgrind stops every thread while one waits for io_uring, so the runner asks for the other
 * backend there. */
static inline uint32_t test_backend(void) {
  return getenv("SHOAL_TEST_POLL") != NULL ? SHOAL_BACKEND_POLL : SHOAL_BACKEND_AUTO;
}

/* Defaults with the secret, which must outlive the use of the settings. */
static inline shoal_config test_config(const shoal_secret *secret) {
  shoal_config config;
  CHECK_STATUS(shoal_config_init(&config), SHOAL_OK);
  config.secrets = secret;
  config.secret_count = 1;
  config.backend = test_backend();
  return config;
}

#endif
