/* See output.h. */
#include "hakmemctl/output.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *output_size(uint64_t n_bytes, char text[OUTPUT_CELL_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double value = (double)n_bytes;
    while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1024;
        unit++;
    }
    if (n_bytes == 0)
        snprintf(text, OUTPUT_CELL_BYTES, "0");
    else if (unit == 0)
        snprintf(text, OUTPUT_CELL_BYTES, "%" PRIu64 " B", n_bytes);
    else
        snprintf(text, OUTPUT_CELL_BYTES, "%.*f %s",
                 value < 10    ? 2
                 : value < 100 ? 1
                               : 0,
                 value, units[unit]);
    return text;
}

const char *output_duration(uint64_t seconds, char text[OUTPUT_CELL_BYTES])
{
    uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (days > 0)
        snprintf(text, OUTPUT_CELL_BYTES, "%" PRIu64 " d %" PRIu64 " h", days, hours % 24);
    else if (hours > 0)
        snprintf(text, OUTPUT_CELL_BYTES, "%" PRIu64 " h %" PRIu64 " min", hours, minutes % 60);
    else if (minutes > 0)
        snprintf(text, OUTPUT_CELL_BYTES, "%" PRIu64 " min %" PRIu64 " s", minutes, seconds % 60);
    else
        snprintf(text, OUTPUT_CELL_BYTES, "%" PRIu64 " s", seconds);
    return text;
}

const char *output_share(uint64_t part, uint64_t whole, char text[OUTPUT_CELL_BYTES])
{
    if (whole == 0)
        snprintf(text, OUTPUT_CELL_BYTES, "-");
    else
        snprintf(text, OUTPUT_CELL_BYTES, "%.0f %%", 100.0 * (double)part / (double)whole);
    return text;
}

const char *output_count(uint64_t n, char text[OUTPUT_CELL_BYTES])
{
    snprintf(text, OUTPUT_CELL_BYTES, "%" PRIu64, n);
    return text;
}

void output_clean(const char *text, char *clean, size_t n_bytes)
{
    size_t i = 0;
    for (; text && text[i] && i + 1 < n_bytes; i++)
        clean[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    clean[i] = '\0';
}

/* The power of 1024 that a unit's letter stands for, or -1. */
static int unit_power(char letter)
{
    static const char letters[] = "KMGTPE";
    const char *at = letter ? strchr(letters, toupper((unsigned char)letter)) : NULL;
    return at ? (int)(at - letters) + 1 : -1;
}

int output_parse_size(const char *text, uint64_t *n_bytes)
{
    if (!isdigit((unsigned char)text[0]))
        return -EINVAL;
    char *end;
    errno = 0;
    unsigned long long whole = strtoull(text, &end, 10);
    if (errno == ERANGE)
        return -ERANGE;
    double fraction = 0;
    if (*end == '.') {
        const char *point = end;
        fraction = strtod(point, &end);
        if (end == point + 1 || strspn(point + 1, "0123456789") != (size_t)(end - point - 1))
            return -EINVAL;
    }
    int power = 0;
    if (*end && toupper((unsigned char)*end) != 'B') {
        power = unit_power(*end++);
        if (power < 0)
            return -EINVAL;
        if (*end == 'i')
            end++;
    }
    if (toupper((unsigned char)*end) == 'B')
        end++;
    if (*end)
        return -EINVAL;
    uint64_t factor = UINT64_C(1) << (10 * power), value;
    if (__builtin_mul_overflow((uint64_t)whole, factor, &value) ||
        __builtin_add_overflow(value, (uint64_t)(fraction * (double)factor), &value))
        return -ERANGE;
    *n_bytes = value;
    return 0;
}

static json_t *value_json(const ProtobufCFieldDescriptor *field, const void *value)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_INT64:
        return json_integer((json_int_t) * (const uint64_t *)value);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)value);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        return json_integer(*(const int32_t *)value);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)value);
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(char *const *)value;
        char clean[256];
        json_t *string = json_string(text ? text : "");
        if (string)
            return string;
        /* No UTF-8: a program's name can hold any byte. */
        output_clean(text, clean, sizeof(clean));
        return json_string(clean);
    }
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *message = *(ProtobufCMessage *const *)value;
        return message ? output_message_json(message) : json_null();
    }
    default:
        return json_null();
    }
}

static size_t value_bytes(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(uint32_t);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    default:
        return sizeof(uint64_t);
    }
}

static json_t *repeated_json(const ProtobufCFieldDescriptor *field, const char *message)
{
    size_t n_values = *(const size_t *)(message + field->quantifier_offset);
    const char *values = *(const char *const *)(message + field->offset);
    json_t *array = json_array();
    for (size_t i = 0; array && i < n_values; i++)
        json_array_append_new(array, value_json(field, values + i * value_bytes(field)));
    return array;
}

json_t *output_message_json(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *descriptor = message->descriptor;
    json_t *object = json_object();
    for (unsigned i = 0; object && i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        const char *at = (const char *)message;
        json_t *value = field->label == PROTOBUF_C_LABEL_REPEATED
                            ? repeated_json(field, at)
                            : value_json(field, at + field->offset);
        json_object_set_new(object, field->name, value);
    }
    return object;
}

bool output_json(json_t *object)
{
    if (!object)
        return false;
    int r = json_dumpf(object, stdout, JSON_INDENT(2));
    json_decref(object);
    putchar('\n');
    return r == 0 && output_flush();
}

bool output_flush(void)
{
    return fflush(stdout) == 0 && !ferror(stdout);
}
