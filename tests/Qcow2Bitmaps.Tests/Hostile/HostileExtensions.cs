using System.Buffers.Binary;
using System.Text;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Support;
using static Qcow2Bitmaps.Tests.Hostile.Expected;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>Header extensions that lie: numbers 11, 13, 14, 34 to 36 and 44 of the list of hostile images.</summary>
internal static class HostileExtensions
{
    private const HeaderExtensionType UnknownType = (HeaderExtensionType)0x12345678;

    public static IEnumerable<HostileCase> All() => [.. Lengths(), .. Names(), .. Encryption(), .. BitmapsExtensions()];

    private static IEnumerable<HostileCase> Lengths()
    {
        foreach (uint length in new uint[] { 4097, 3977, 0x7fffffff, uint.MaxValue })
        {
            yield return Noted($"extension of {length} bytes", () => Unknown(8).U32(LengthOfFirst, length), FaultCode.ExtensionTooLarge);
            yield return Noted(
                $"end marker of {length} bytes", () => Unknown(8).U32(HeaderLayout.KnownLength, 0).U32(LengthOfFirst, length),
                FaultCode.ExtensionTooLarge);
        }

        yield return Noted(
            "extension area that ends inside an extension's header", static () => Unknown(8).U64(HeaderLayout.BackingFileOffset, 116),
            FaultCode.ExtensionTooLarge);
        yield return new HostileCase("8000 extensions with no end", static () => Endless(UnknownType), FaultCode.None, Accepted, Accepted);
        yield return new HostileCase(
            "8000 backing formats with no end", static () => Endless(HeaderExtensionType.BackingFormat), FaultCode.ExtensionDuplicate,
            Expected.Noted, Expected.Noted);
        yield return new HostileCase(
            "two bitmaps extensions", static () => Bitmaps(extra: 24, ValidCopy), FaultCode.ExtensionDuplicate, Expected.Noted,
            Expected.Noted);
        yield return new HostileCase(
            "feature name table of odd length",
            static () => Patched.WithExtensions(new RawHeaderExtension(HeaderExtensionType.FeatureNames, new byte[47])),
            FaultCode.ExtensionFeatureNames,
            Expected.Noted,
            Expected.Noted);
    }

    private static IEnumerable<HostileCase> Names()
    {
        foreach (int length in new[] { 16, 1000 })
        {
            yield return Noted(
                $"backing format of {length} bytes",
                () => Patched.WithExtensions(new RawHeaderExtension(HeaderExtensionType.BackingFormat, new byte[length])),
                FaultCode.ExtensionBackingFormat);
        }

        yield return new HostileCase(
            "data file bit without a name",
            static () => Patched.Usual().U64(HeaderLayout.IncompatibleFeatures, (ulong)IncompatibleFeatures.ExternalDataFile),
            FaultCode.ExtensionDataFile,
            Expected.Noted,
            Expected.Noted);
        foreach (string name
            in new[]
            {
                "",
                "json:{\"driver\":\"nbd\"}",
                "/dev/zero",
                "../../etc/passwd",
                "nbd://localhost/x",
                "self.qcow2",
                "a\0b",
                "\x1b[2J\n",
            })
        {
            yield return new HostileCase(
                $"data file '{PrintableText.Escape(name)}'", () => WithDataFile(name), FaultCode.None, Accepted, Accepted);
        }
    }

    public static Patched WithDataFile(string name) => Patched
        .WithExtensions(new RawHeaderExtension(HeaderExtensionType.DataFileName, Encoding.UTF8.GetBytes(name)))
        .U64(HeaderLayout.IncompatibleFeatures, (ulong)IncompatibleFeatures.ExternalDataFile);

    private static IEnumerable<HostileCase> Encryption()
    {
        foreach (int length in new[] { 0, 8, 15, 17 })
        {
            yield return Noted(
                $"encryption header pointer of {length} bytes", () => Luks(new byte[length]), FaultCode.ExtensionCryptoHeader);
        }

        yield return Noted(
            "encryption header at an unaligned offset", static () => Luks(Pointer(4097, 4096)), FaultCode.ExtensionCryptoHeader);
        yield return Noted("encryption header at 2^63", static () => Luks(Pointer(1UL << 63, 4096)), FaultCode.ExtensionCryptoHeader);
        yield return Noted("encryption header of 591 bytes", static () => Luks(Pointer(4096, 591)), FaultCode.ExtensionCryptoHeader);
        yield return Noted(
            "encryption header of an image that is not encrypted", static () => Luks(Pointer(4096, 4096)).U32(HeaderLayout.CryptMethod, 0),
            FaultCode.ExtensionCryptoHeader);
        yield return new HostileCase(
            "encryption header that is none", static () => Luks(Pointer(4096, 4096)), FaultCode.LuksHeader, RefusedOnRead, NotedOnRead);
        yield return new HostileCase(
            "encryption header behind the file's end", static () => Luks(Pointer(1UL << 40, 4096)), FaultCode.LuksHeader, RefusedOnRead,
            NotedOnRead);
    }

    private static IEnumerable<HostileCase> BitmapsExtensions()
    {
        foreach (uint length in new uint[] { 0, 16, 23, 25, 32 })
        {
            // What follows the extension is zeros, so that a longer one is only that.
            yield return Noted(
                $"bitmaps extension of {length} bytes", () => Bitmaps(b => b.U32(b.BitmapsExtension - sizeof(uint), length)),
                FaultCode.BitmapsExtensionLength);
        }

        foreach (uint count in new uint[] { 0, 65536, uint.MaxValue })
        {
            yield return Noted(
                $"nb_bitmaps {count}", () => Bitmaps(b => b.U32(b.BitmapsExtension, count)), FaultCode.BitmapsExtensionCount);
        }

        yield return Noted(
            "nb_bitmaps one too many", static () => Bitmaps(static b => b.U32(b.BitmapsExtension, 3)), FaultCode.BitmapDirectoryCount);
        yield return Noted(
            "nb_bitmaps one too few", static () => Bitmaps(static b => b.U32(b.BitmapsExtension, 1)), FaultCode.BitmapDirectoryCount);
        yield return Noted(
            "reserved field not zero", static () => Bitmaps(static b => b.U32(b.BitmapsExtension + 4, 1)),
            FaultCode.BitmapsExtensionReserved);
        foreach (ulong size in new ulong[] { 0, 67_107_841, 8UL << 30, 1UL << 63, ulong.MaxValue })
        {
            yield return Noted(
                $"directory of {size} bytes", () => Bitmaps(b => b.U64(b.BitmapsExtension + 8, size)),
                FaultCode.BitmapsExtensionDirectorySize);
        }

        yield return Noted(
            "directory size that reaches far behind the file's end",
            static () => Bitmaps(static b => b.U64(b.BitmapsExtension + 8, 67_107_840)), FaultCode.BitmapDirectoryTruncated);
        yield return Noted(
            "directory size that cuts an entry", static () => Bitmaps(static b => b.U64(b.BitmapsExtension + 8, 40)),
            FaultCode.BitmapDirectoryBroken);
        yield return Noted(
            "directory size with bytes left over", static () => Bitmaps(static b => b.U64(b.BitmapsExtension + 8, 72)),
            FaultCode.BitmapDirectoryBroken);
        foreach (ulong offset in new ulong[] { 0, 1, 0x1001, 1UL << 63, ulong.MaxValue & ~0xfffUL })
        {
            yield return Noted(
                $"directory at 0x{offset:x}", () => Bitmaps(b => b.U64(b.BitmapsExtension + 16, offset)),
                FaultCode.BitmapsExtensionDirectoryOffset);
        }

        yield return Noted(
            "directory behind the file's end", static () => Bitmaps(static b => b.U64(b.BitmapsExtension + 16, 1UL << 40)),
            FaultCode.BitmapDirectoryTruncated);
        yield return Noted(
            "directory at the largest offset",
            static () => Bitmaps(static b => b.U64(b.BitmapsExtension + 16, (ulong)long.MaxValue & ~0xfffUL)),
            FaultCode.BitmapDirectoryTruncated);
        yield return Noted(
            "directory on top of the header", static () => Bitmaps(static b => b.U64(b.BitmapsExtension + 16, 4096)),
            FaultCode.BitmapTableSize);
        yield return new HostileCase(
            "bitmaps extension with the autoclear bit off", static () => Bitmaps(static b => b.U64(HeaderLayout.AutoclearFeatures, 0)),
            FaultCode.BitmapsExtensionAutoclearOff, Expected.Noted, Expected.Noted);
        yield return new HostileCase(
            "hostile bitmaps extension with the autoclear bit off",
            static () =>
                Bitmaps(static b =>
                    b.U64(HeaderLayout.AutoclearFeatures, 0)
                        .U32(b.BitmapsExtension, uint.MaxValue)
                        .U64(b.BitmapsExtension + 8, ulong.MaxValue)),
            FaultCode.BitmapsExtensionAutoclearOff,
            Expected.Noted,
            Expected.Noted);
        yield return new HostileCase(
            "autoclear bit without a bitmaps extension", static () => Patched.WithoutBitmaps().U64(HeaderLayout.AutoclearFeatures, 1),
            FaultCode.BitmapsExtensionMissing, Expected.Noted, Expected.Noted);
        yield return new HostileCase(
            "bitmaps extension in version 2", Version2, FaultCode.BitmapsExtensionAutoclearOff, Expected.Noted, Expected.Noted);
    }

    private static int LengthOfFirst => HeaderLayout.KnownLength + sizeof(uint);

    private static Patched Unknown(int length) => Patched.WithExtensions(new RawHeaderExtension(UnknownType, new byte[length]));

    private static Patched Bitmaps(Action<Patched> change)
    {
        Patched image = Patched.Usual();
        change(image);
        return image;
    }

    private static Patched Bitmaps(int extra, Action<Patched> change)
    {
        // The bitmaps extension comes last; an unknown one before it makes room for a copy.
        var image = new TestImage();
        image.Extensions.Add(new RawHeaderExtension(UnknownType, new byte[extra]));
        var patched = new Patched(image.WithBitmap("a"));
        change(patched);
        return patched;
    }

    private static void ValidCopy(Patched image) => image
        .U32(HeaderLayout.KnownLength, (uint)HeaderExtensionType.Bitmaps)
        .Put(
            HeaderLayout.KnownLength + HeaderExtension.HeaderBytes,
            image.Bytes.AsSpan(image.BitmapsExtension, BitmapsExtension.SizeBytes).ToArray());

    private static Patched Luks(byte[] data) => Patched
        .WithExtensions(new RawHeaderExtension(HeaderExtensionType.CryptoHeader, data)).U32(HeaderLayout.CryptMethod, 2);

    private static byte[] Pointer(ulong offset, ulong length)
    {
        var data = new byte[16];
        BinaryPrimitives.WriteUInt64BigEndian(data, offset);
        BinaryPrimitives.WriteUInt64BigEndian(data.AsSpan(8), length);
        return data;
    }

    /// <summary>Extensions without data from the header to the first cluster's end, which is 64 KiB away.</summary>
    private static Patched Endless(HeaderExtensionType type)
    {
        Patched image = Patched.WithoutBitmaps(clusterBits: 16);
        for (int offset = HeaderLayout.KnownLength; offset < 1 << 16; offset += HeaderExtension.HeaderBytes)
        {
            image.U32(offset, (uint)type);
        }

        return image;
    }

    private static Patched Version2()
    {
        Patched image = Patched.Usual();
        byte[] extensions = image.Bytes[HeaderLayout.KnownLength..2048];
        return image.U32(HeaderLayout.Version, 2).Put(HeaderLayout.Version2Length, extensions);
    }

    private static HostileCase Noted(string name, Func<Patched> build, FaultCode code) => new(name, build, code, Refused, Expected.Noted);
}
