/* A library with one of the functions of TensorFlow's in C: it adds up what it is given. */
long TF_SessionRun(long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, long k) {
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h + 9 * i + 10 * j + 11 * k;
}
