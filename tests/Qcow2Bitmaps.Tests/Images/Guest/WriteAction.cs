namespace Qcow2Bitmaps.Tests.Images.Guest;

internal enum WriteAction
{
    Write,
    Zero,
    ZeroUnmap,
    Discard,
    Compressed,
    Flush,
    Reopen,
}
