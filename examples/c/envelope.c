/* Datagrams of this program's own, sealed as Shoal seals its own: two programs that share a secret
 * exchange a message, and everything else is refused.
 *
 * Sealing proves who knows the secret, hides the message and lets each datagram in once. It is what
 * nodes do by themselves; alone it serves programs that speak to their peers beside the cluster. */
#include <shoal.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SENDERS = 100 };

static shoal_envelope *make(const char *secret_text) {
  shoal_secret secret = {(const uint8_t *)secret_text, strlen(secret_text)};
  char detail[SHOAL_DETAIL_SIZE] = "";
  shoal_envelope *envelope = NULL;
  if (shoal_envelope_new(&secret, 1, SENDERS, &envelope, detail, sizeof detail) != SHOAL_OK) {
    fprintf(stderr, "%s\n", detail);
    exit(1);
  }
  return envelope;
}

static size_t seal(shoal_envelope *envelope, const char *message,
                   uint8_t datagram[SHOAL_DATAGRAM_SIZE_MAX]) {
  size_t size;
  shoal_status status = shoal_envelope_seal(envelope, (const uint8_t *)message, strlen(message),
                                            datagram, SHOAL_DATAGRAM_SIZE_MAX, &size);
  if (status == SHOAL_OK) return size;
  fprintf(stderr, "cannot seal: %s\n", shoal_status_text(status));
  exit(1);
}

/* Opens a copy, because a datagram is opened where it lies. */
static void open_copy(const char *who, shoal_envelope *envelope, const uint8_t *datagram,
                      size_t size) {
  uint8_t copy[SHOAL_DATAGRAM_SIZE_MAX];
  const uint8_t *message;
  size_t message_size;
  shoal_status status;
  memcpy(copy, datagram, size);
  status = shoal_envelope_open(envelope, copy, size, &message, &message_size);
  if (status == SHOAL_OK) {
    printf("%s: %.*s\n", who, (int)message_size, (const char *)message);
  } else {
    printf("%s: %s\n", who, shoal_status_text(status));
  }
}

int main(void) {
  static const char message[] = "the gate moves at noon";
  shoal_envelope *alice = make("a secret of the cluster");
  shoal_envelope *bob = make("a secret of the cluster");
  shoal_envelope *mallory = make("a guess at the secret");
  uint8_t datagram[SHOAL_DATAGRAM_SIZE_MAX];
  size_t size;

  size = seal(alice, message, datagram);
  printf("sealed %u bytes as %u\n", (unsigned)strlen(message), (unsigned)size);
  open_copy("bob", bob, datagram, size);
  open_copy("bob again", bob, datagram, size);
  open_copy("mallory", mallory, datagram, size);
  size = seal(alice, message, datagram);
  datagram[size / 2] ^= 1;
  open_copy("bob, changed", bob, datagram, size);

  shoal_envelope_free(alice);
  shoal_envelope_free(bob);
  shoal_envelope_free(mallory);
  return 0;
}
