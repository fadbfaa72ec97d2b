namespace Qcow2Bitmaps.Cli.Output;

/// <summary>The format-specific part of <c>info</c>, in the order in which QEMU prints its members.</summary>
internal static class FormatSpecificInfo
{
    public static IReadOnlyList<InfoNode> Of(Qcow2Image image, LuksHeader? luks)
    {
        Qcow2Header header = image.Header;
        var compat = new InfoNode.Leaf("compat", header.Version == 2 ? "0.10" : "1.1");
        var compression = new InfoNode.Leaf("compression-type", header.CompressionType == CompressionType.Zstd ? "zstd" : "zlib");
        var refcountBits = new InfoNode.Leaf("refcount-bits", (long)header.RefcountBits);
        var members = new List<InfoNode> { compat, compression };
        if (header.Version == 2)
        {
            members.Add(refcountBits);
            AddEncryption(members, image, luks);
            return members;
        }

        members.Add(new InfoNode.Leaf("lazy-refcounts", header.HasLazyRefcounts));
        if (image.Bitmaps.Count > 0)
        {
            members.Add(new InfoNode.Items("bitmaps", [.. image.Bitmaps.Select(Bitmap)]));
        }

        members.Add(refcountBits);
        if (image.DataFile is { } dataFile)
        {
            // QEMU shows the name also when the incompatible bit is off.
            members.Add(new InfoNode.Leaf("data-file", dataFile));
        }

        AddEncryption(members, image, luks);
        if (header.HasExternalDataFile)
        {
            members.Add(new InfoNode.Leaf("data-file-raw", header.HasRawDataFile));
        }

        members.Add(new InfoNode.Leaf("corrupt", header.IsCorrupt));
        members.Add(new InfoNode.Leaf("extended-l2", header.HasExtendedL2));
        return members;
    }

    /// <summary>The flags of a bitmap, in QEMU's order and words.</summary>
    public static IEnumerable<string> Flags(BitmapFlags flags)
    {
        if (flags.HasFlag(BitmapFlags.InUse))
        {
            yield return "in-use";
        }

        if (flags.HasFlag(BitmapFlags.Auto))
        {
            yield return "auto";
        }
    }

    private static InfoNode.Group Bitmap(BitmapInfo bitmap) => new("",
    [
        new InfoNode.Items("flags", [.. Flags(bitmap.Flags).Select(static flag => new InfoNode.Leaf("", flag))]),
        new InfoNode.Leaf("name", bitmap.Name),
        new InfoNode.Leaf("granularity", bitmap.GranularityBytes),
    ]);

    private static void AddEncryption(List<InfoNode> members, Qcow2Image image, LuksHeader? luks)
    {
        if (luks is not null)
        {
            members.Add(new InfoNode.Group("encrypt", Luks(luks)));
        }
        else if (image.Encryption == EncryptionMethod.Aes)
        {
            members.Add(new InfoNode.Group("encrypt", [new InfoNode.Leaf("format", "aes")]));
        }
    }

    private static List<InfoNode> Luks(LuksHeader luks)
    {
        // "xts-plain64", or with a hash for the generator: "cbc-essiv:sha256".
        string[] modeAndGenerator = luks.CipherMode.Split('-', 2);
        string mode = modeAndGenerator[0];
        string[] generatorAndHash = (modeAndGenerator.Length > 1 ? modeAndGenerator[1] : "").Split(':', 2);
        // XTS uses two keys.
        long cipherBits = (string.Equals(mode, "xts", StringComparison.Ordinal) ? luks.KeyBytes / 2 : luks.KeyBytes) * 8L;
        var members = new List<InfoNode>
        {
            new InfoNode.Leaf("ivgen-alg", generatorAndHash[0]),
            new InfoNode.Leaf("hash-alg", luks.Hash),
            new InfoNode.Leaf("cipher-alg", $"{luks.CipherName}-{cipherBits}"),
            new InfoNode.Leaf("uuid", luks.Uuid),
        };
        // As qemu-img: only one kind of generator uses the hash, whatever the header says.
        if (generatorAndHash is ["essiv", _])
        {
            members.Add(new InfoNode.Leaf("ivgen-hash-alg", generatorAndHash[1]));
        }

        members.Add(new InfoNode.Leaf("format", "luks"));
        members.Add(new InfoNode.Leaf("cipher-mode", mode));
        members.Add(new InfoNode.Items("slots", [.. luks.Slots.Select(Slot)]));
        members.Add(new InfoNode.Leaf("payload-offset", luks.PayloadOffsetBytes));
        members.Add(new InfoNode.Leaf("master-key-iters", (long)luks.MasterKeyIterations));
        return members;
    }

    private static InfoNode.Group Slot(LuksKeySlot slot)
    {
        var members = new List<InfoNode> { new InfoNode.Leaf("active", slot.IsActive) };
        if (slot.IsActive)
        {
            members.Add(new InfoNode.Leaf("iters", (long)slot.Iterations));
        }

        members.Add(new InfoNode.Leaf("key-offset", slot.KeyOffsetBytes));
        if (slot.IsActive)
        {
            members.Add(new InfoNode.Leaf("stripes", (long)slot.Stripes));
        }

        return new InfoNode.Group("", members);
    }
}
