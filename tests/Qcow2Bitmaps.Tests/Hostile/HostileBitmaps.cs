using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;
using static Qcow2Bitmaps.Tests.Hostile.Expected;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Bitmap directories, tables and bits that lie: numbers 37 to 43 of the list of hostile images.</summary>
internal static class HostileBitmaps
{
    private const ulong AllOnes = 1;

    public static IEnumerable<HostileCase> All() => [.. Names(), .. Entries(), .. Tables(), .. TableEntries()];

    private static IEnumerable<HostileCase> Names()
    {
        yield return Odd("empty name", static () => Named([]), FaultCode.BitmapName);
        yield return Odd("name that is not UTF-8", static () => Named([(byte)'a', 0xff, 0xc0]), FaultCode.BitmapName);
        yield return Odd("name with a NUL", static () => Named("a\0b"u8), FaultCode.BitmapName);
        yield return Odd(
            "padding that is not zero", static () => Named("abc"u8, static image => image.U8(image.Entry(27), 1)), FaultCode.BitmapPadding);
        yield return Faulty("name of 1024 bytes", static () => Named(new string('n', 1024)), FaultCode.BitmapName);
        yield return Faulty("name of 65535 bytes", static () => Named(new string('n', 65535)), FaultCode.BitmapName);
        yield return Faulty(
            "name_size 65535", static () => Change(static image => image.U16(image.Entry(Patched.NameSize), ushort.MaxValue)),
            FaultCode.BitmapDirectoryBroken);
        yield return Faulty(
            "two of one name", static () => new Patched(new TestImage().WithBitmap("a").WithBitmap("a")), FaultCode.BitmapDuplicateName);
        yield return Faulty(
            "two names that differ behind a NUL", static () => new Patched(new TestImage().WithBitmap("a\0b").WithBitmap("a\0c")),
            FaultCode.BitmapDuplicateName);
        yield return new HostileCase(
            "bitmap: two of one name, the second in use",
            static () => new Patched(new TestImage().WithBitmap("a").WithBitmap("a", flags: BitmapFlags.InUse)),
            FaultCode.BitmapDuplicateName,
            Accepted,
            Noted);
    }

    private static IEnumerable<HostileCase> Entries()
    {
        foreach (uint size in new uint[] { uint.MaxValue, uint.MaxValue - 15, int.MaxValue, 65U })
        {
            yield return Faulty(
                $"extra data of {size} bytes", () => Change(image => image.U32(image.Entry(Patched.ExtraDataSize), size)),
                FaultCode.BitmapDirectoryBroken);
        }

        yield return Faulty(
            "extra data instead of a name",
            static () => Change(static image => image.U32(image.Entry(Patched.ExtraDataSize), 8).U16(image.Entry(Patched.NameSize), 0)),
            FaultCode.BitmapExtraData);
        foreach (byte bits in new byte[] { 0, 8, 32, 62, 63, 64, 255 })
        {
            yield return Faulty(
                $"granularity_bits {bits}", () => Change(image => image.U8(image.Entry(Patched.Granularity), bits)),
                FaultCode.BitmapGranularity);
        }

        foreach (byte type in new byte[] { 0, 2, 255 })
        {
            yield return Faulty($"type {type}", () => Change(image => image.U8(image.Entry(Patched.Type), type)), FaultCode.BitmapType);
        }

        foreach (uint flags in new uint[] { 1U << 2, 1U << 31, uint.MaxValue })
        {
            yield return Faulty(
                $"flags 0x{flags:x}", () => Change(image => image.U32(image.Entry(Patched.Flags), flags)), FaultCode.BitmapFlags);
        }

        yield return new HostileCase(
            "bitmap: in use and auto", static () => Change(static image => image.U32(image.Entry(Patched.Flags), 3)), FaultCode.BitmapInUse,
            Accepted, NotedOnRead);
    }

    private static IEnumerable<HostileCase> Tables()
    {
        foreach (uint size in new uint[] { 0U, 2U, 131_073U, 0x8000001U, uint.MaxValue })
        {
            yield return Faulty(
                $"table of {size} entries", () => Change(image => image.U32(image.Entry(Patched.TableSize), size)),
                FaultCode.BitmapTableSize);
        }

        foreach (uint size in new uint[] { 0U, 131_073U, uint.MaxValue })
        {
            yield return Faulty(
                $"in use, with a table of {size} entries",
                () => Change(image => image.U32(image.Entry(Patched.TableSize), size).U32(image.Entry(Patched.Flags), 1)),
                FaultCode.BitmapTableSize);
        }

        foreach (ulong offset in new ulong[] { 0, 1, 0x5001, 1UL << 63, ulong.MaxValue & ~0xfffUL })
        {
            yield return Faulty(
                $"table at 0x{offset:x}", () => Change(image => image.U64(image.Entry(Patched.TableOffset), offset)),
                FaultCode.BitmapTableOffset);
        }

        // QEMU does not look for the table of a bitmap in use.
        yield return new HostileCase(
            "bitmap: in use, with its table at 2^63",
            static () => Change(static image => image.U64(image.Entry(Patched.TableOffset), 1UL << 63).U32(image.Entry(Patched.Flags), 1)),
            FaultCode.BitmapTableOffset,
            Accepted,
            RefusedOnRead);
        foreach (ulong offset in new ulong[] { 1UL << 40, (ulong)long.MaxValue & ~0xfffUL })
        {
            yield return new HostileCase(
                $"bitmap: table at 0x{offset:x}, behind the file's end",
                () => Change(image => image.U64(image.Entry(Patched.TableOffset), offset)),
                FaultCode.BitmapTableTruncated,
                NotedOnRead,
                NotedOnRead);
        }

        yield return new HostileCase(
            "bitmap: table cut off by the file's end",
            static () =>
                Large(static image => image.U64(image.Entry(Patched.TableOffset), (ulong)image.Bytes.Length)).Resize(LargeLength + 12),
            FaultCode.BitmapTableTruncated,
            NotedOnRead,
            NotedOnRead);
    }

    private static IEnumerable<HostileCase> TableEntries()
    {
        foreach (ulong entry in new ulong[] { 2, 0x1fe, 1UL << 56, 1UL << 63, ulong.MaxValue, 0x1001, AllOnes | (1UL << 63) })
        {
            yield return Unreadable(
                $"table entry 0x{entry:x}", () => Change(image => image.U64(image.Table, entry)), FaultCode.BitmapTableEntryReserved);
        }

        foreach (ulong entry in new ulong[] { 0x200, 0x1200, 0x00fffffffffffe00 })
        {
            yield return Unreadable(
                $"unaligned table entry 0x{entry:x}", () => Change(image => image.U64(image.Table, entry)),
                FaultCode.BitmapTableEntryUnaligned);
        }

        foreach (ulong entry in new ulong[] { 1UL << 40, 0x00fffffffffff000 })
        {
            yield return new HostileCase(
                $"bitmap: bits at 0x{entry:x}, behind the file's end", () => Change(image => image.U64(image.Table, entry)),
                FaultCode.BitmapDataTruncated, NotedOnRead, NotedOnRead);
        }

        yield return new HostileCase(
            "bitmap: bits cut off by the file's end",
            static () => Change(static image => image.U64(image.Table, (ulong)image.Bytes.Length).Resize(image.Bytes.Length + 7)),
            FaultCode.BitmapDataTruncated,
            NotedOnRead,
            NotedOnRead);
        yield return new HostileCase(
            "bitmap: table entry that points at its own table",
            static () => Change(static image => image.U64(image.Table, (ulong)image.Table)), FaultCode.None, Accepted, Accepted);
        yield return new HostileCase(
            "bitmap: table on top of the L1 table",
            static () => Change(static image => image.U64(image.Entry(Patched.TableOffset), 0x3000)), FaultCode.None, Accepted, Accepted);
        yield return new HostileCase(
            "bitmap: bits behind the disk's end",
            static () =>
                new Patched(
                    new TestImage(virtualSizeBytes: (1 << 20) + 512).WithBitmap("a", bits: [.. Enumerable.Repeat(byte.MaxValue, 40)])),
            FaultCode.BitmapTailBits,
            NotedOnRead,
            NotedOnRead);
    }

    /// <summary>The file's length when the one bitmap of <see cref="Large"/> has its table behind everything else.</summary>
    private static int LargeLength => Large(static _ => { }).Bytes.Length;

    /// <summary>An image with a bitmap whose table has 8 entries.</summary>
    private static Patched Large(Action<Patched> change)
    {
        var image = new Patched(new TestImage(virtualSizeBytes: 128 << 20).WithBitmap("a", granularityBits: 9));
        change(image);
        return image;
    }

    private static Patched Change(Action<Patched> change)
    {
        Patched image = Patched.Usual();
        change(image);
        return image;
    }

    private static Patched Named(string name) => Named(System.Text.Encoding.UTF8.GetBytes(name));

    private static Patched Named(ReadOnlySpan<byte> name, Action<Patched>? change = null)
    {
        var image = new Patched(new TestImage().WithBitmap(name.ToArray(), 12, BitmapFlags.Auto, [1]));
        change?.Invoke(image);
        return image;
    }

    private static HostileCase Faulty(string name, Func<Patched> build, FaultCode code) =>
        new("bitmap: " + name, build, code, Refused, Noted);

    private static HostileCase Odd(string name, Func<Patched> build, FaultCode code) => new("bitmap: " + name, build, code, Noted, Noted);

    private static HostileCase Unreadable(string name, Func<Patched> build, FaultCode code) =>
        new("bitmap: " + name, build, code, RefusedOnRead, NotedOnRead);
}
