/* An object for lib-deepbind.sh to load: it frees what others allocated, and the other way round.
 */
#include <stdlib.h>
#include <string.h>

char *object_make(void)
{
    return strcpy(malloc(100), "made by the object");
}

void object_drop(void *block)
{
    free(block);
}
