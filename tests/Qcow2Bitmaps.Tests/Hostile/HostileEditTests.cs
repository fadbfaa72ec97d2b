using System.Buffers.Binary;
using System.Diagnostics;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>
/// Edits of images that lie are refused with nothing written, or work; in bounded time and memory, and never over something that is in use.
/// </summary>
public sealed class HostileEditTests
{
    private const int MaxAllocatedBytes = 64 << 20;
    private const int ClusterBytes = 4096;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(HostileCases.Names), MemberType = typeof(HostileCases))]
    public async Task EveryHostileImageIsEditedOrLeftAsItIs(string name)
    {
        byte[] bytes = HostileCases.ByName[name].Build();
        foreach (Strictness strictness in Enum.GetValues<Strictness>())
        {
            foreach (Action<BitmapEdit, Qcow2Image> steps in new Action<BitmapEdit, Qcow2Image>[]
            {
                static (edit, _) => edit.Add("new", 65_536).Set("new", 0, 1),
                static (edit, _) => edit.RemoveAll(),
                static (edit, image) => edit.Set(FirstOf(image), 0, 1),
                static (edit, image) => edit.Remove(FirstOf(image)),
                static (edit, _) => edit.DropBroken().Add("new", 65_536),
            })
            {
                await EditAsync(bytes, strictness, steps);
            }
        }
    }

    [Fact]
    public async Task ACountOfZeroForATableInUseLosesNothing()
    {
        // Clusters of data and of bits are not looked at but for their counts, as with QEMU.
        TestImage built = new TestImage(12, 64 << 20).WithGuestData(3)
            .WithBitmap("a", 9, bits: [.. Enumerable.Repeat((byte)0x77, 3 * ClusterBytes)])
            .WithBitmap("b", bits: [1, 2, 3]);
        byte[] bytes = built.Build();
        (List<string> bits, GuestContent guest) = await ReadAsync(bytes);
        int[] tables = [
            0,
            1,
            2,
            3,
            4,
            .. built.Bitmaps.Select(static bitmap => bitmap.TableOffset / ClusterBytes),
            built.DirectoryOffset / ClusterBytes,
        ];
        foreach (int cluster in tables)
        {
            byte[] changed = [.. bytes];
            RefcountBlock.Write(changed.AsSpan(2 * ClusterBytes, ClusterBytes), cluster, 4, 0);
            var storage = new MemoryStorage(changed);
            await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, cancellationToken: Token);
            Exception? error = await Record.ExceptionAsync(
                async () => await image.Bitmaps.EditAsync(static edit => edit.Add("new").Set("new", 0, 1), Token));

            byte[] after = storage.ToArray();
            if (error is not null)
            {
                Assert.IsType<Qcow2FormatException>(error);
                Assert.True(changed.AsSpan().SequenceEqual(after), $"cluster {cluster}: refused, and written");
                continue;
            }

            (List<string> bitsAfter, GuestContent guestAfter) = await ReadAsync(after);
            Assert.True(bits.SequenceEqual(bitsAfter.Take(bits.Count)), $"cluster {cluster}: bits are lost");
            Assert.True(guest.IsSameAs(guestAfter), $"cluster {cluster}: data are lost");
        }
    }

    [Fact]
    public async Task ABitmapThatSharesItsTableWithAnotherTakesNothingAlong()
    {
        var image = new Patched(new TestImage().WithBitmap("a", bits: [0xf0]).WithBitmap("b"));
        image.U64(image.Entry(Patched.TableOffset, 1), (ulong)image.Table);

        await AssertRemovalKeepsTheRestAsync(image.Bytes);
    }

    [Fact]
    public async Task ABitmapThatSharesItsBitsWithAnotherTakesNothingAlong()
    {
        TestImage built = new TestImage().WithBitmap("a", bits: [0xf0]).WithBitmap("b");
        var image = new Patched(built);
        image.U64(built.Bitmaps[1].TableOffset, BinaryPrimitives.ReadUInt64BigEndian(image.Bytes.AsSpan(image.Table)));

        await AssertRemovalKeepsTheRestAsync(image.Bytes);
    }

    [Fact]
    public async Task ATableThatNamesAClusterTwiceLosesNothing()
    {
        TestImage built = new TestImage(virtualSizeBytes: 32 << 20).WithBitmap("a", 9, bits: [0xf0]);
        var image = new Patched(built);
        image.U64(image.Table + 8, BinaryPrimitives.ReadUInt64BigEndian(image.Bytes.AsSpan(image.Table)));
        await EditAsync(image.Bytes, Strictness.AsQemu, static (edit, _) => edit.Set("a", 0, 1), static async after =>
        {
            await using Qcow2Image reopened = await TestImage.OpenAsync(after);
            Assert.Equal(9, (await reopened.Bitmaps.CountAsync("a", Token)).Bits);
        });
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task ABitmapWhoseBitsAreATableOfTheImageTakesNothingAlong(int cluster)
    {
        // The refcount table and block, the L1 and the L2 table. The guest's data are protected by their counts alone, as with QEMU.
        var image = new Patched(new TestImage().WithGuestData(2).WithBitmap("a").WithBitmap("b", bits: [3]));
        image.U64(image.Table, (ulong)cluster * ClusterBytes);

        await AssertRemovalKeepsTheRestAsync(image.Bytes);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(1 << 20)]
    [InlineData(1L << 50)]
    public async Task ARefcountBlockThatIsSomethingElseIsNotWritten(long cluster)
    {
        var image = new Patched(new TestImage().WithGuestData(2).WithBitmap("a", bits: [0xf0]));
        (List<string> bits, GuestContent guest) = await ReadAsync(image.Bytes);
        image.U64(ClusterBytes, (ulong)cluster * ClusterBytes);

        await EditAsync(image.Bytes, Strictness.AsQemu, static (edit, _) => edit.Add("new"), async after =>
        {
            (List<string> bitsAfter, GuestContent guestAfter) = await ReadAsync(after);
            Assert.Equal(bits, bitsAfter.Take(bits.Count));
            Assert.True(guest.IsSameAs(guestAfter));
        });
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public async Task ARefcountTableOfEightMebibytesTakesBoundedTime(int cluster)
    {
        // All entries name nothing, or all the one block whose counts are all one.
        var image = new Patched(new TestImage().WithBitmap("a", bits: [0xf0]));
        int table = image.Bytes.Length;
        image.Resize(table + (8 << 20))
            .U64(HeaderLayout.RefcountTableOffset, (ulong)table)
            .U32(HeaderLayout.RefcountTableClusters, (8 << 20) / ClusterBytes);
        for (int i = 0; i < 8 << 20; i += 8)
        {
            image.U64(table + i, (ulong)cluster * ClusterBytes);
        }

        for (int i = 0; i < ClusterBytes; i += 2)
        {
            image.U16((2 * ClusterBytes) + i, 1);
        }

        await EditAsync(image.Bytes, Strictness.AsQemu, static (edit, _) => edit.Add("new"));
        await EditAsync(image.Bytes, Strictness.AsQemu, static (edit, _) => edit.Remove("a"));
    }

    [Theory]
    [InlineData("add")]
    [InlineData("remove")]
    [InlineData("remove all")]
    [InlineData("cut short")]
    public async Task AFullDirectoryWhoseBitmapsShareOneLargeTableTakesBoundedTime(string kind)
    {
        // 65535 bitmaps, each with the same table of 128 KiB: 8 GiB of tables in a file of 3 MiB.
        const int Bitmaps = 65_535;
        const int Entries = 16_384;
        int count = kind == "add" ? Bitmaps - 1 : Bitmaps;
        var image = new Patched(new TestImage(12, 1L << 38).WithBitmap("name", granularityBits: 9));
        image.U8(image.Entry(Patched.Granularity), 9);
        int table = image.Bytes.Length;
        int directory = table + (Entries * 8);
        image.Resize(directory + (count * 32)).U64(HeaderLayout.VirtualSize, (ulong)Entries * ClusterBytes * 8 * 512)
            .U32(image.BitmapsExtension, (uint)count)
                .U64(image.BitmapsExtension + 8, (ulong)count * 32)
                .U64(image.BitmapsExtension + 16, (ulong)directory);
        for (int i = 0; i < count; i++)
        {
            int entry = directory + (i * 32);
            image.U64(entry, (ulong)table)
                .U32(entry + Patched.TableSize, Entries)
                .U32(entry + Patched.Flags, 2)
                .U8(entry + Patched.Type, 1)
                .U8(entry + Patched.Granularity, 9)
                .U16(entry + Patched.NameSize, 8)
                .Put(entry + 24, System.Text.Encoding.ASCII.GetBytes($"{i:x8}"));
        }

        if (kind == "cut short")
        {
            // All bits lie in a cluster that the file's end cuts.
            for (int i = 0; i < Entries * 8; i += 8)
            {
                image.U64(table + i, (ulong)(image.Bytes.Length - 8) & ~0xfffUL);
            }
        }

        await EditAsync(image.Bytes, Strictness.AsQemu, (edit, _) => Steps(edit, kind));
    }

    /// <summary>Thousands of bitmaps share one table, and one directory entry is faulty, so that the repair is an edit.</summary>
    [Theory]
    [InlineData("shared")]
    [InlineData("behind the end")]
    [InlineData("cut short")]
    public async Task ARepairOfBitmapsThatShareOneLargeTableTakesBoundedMemory(string kind)
    {
        bool liesBehindEnd = kind != "shared";
        const int Bitmaps = 2000;
        const int Entries = 16_384;
        var image = new Patched(new TestImage(12, (long)Entries * ClusterBytes * 8 * 512).WithBitmap("name", granularityBits: 9));
        int table = image.Bytes.Length;
        int directory = table + (Entries * 8);
        // All is counted: a file that ends inside a cluster is cut short.
        int end = directory + (Bitmaps * 32);
        image.Resize(kind == "cut short" ? end : (end + ClusterBytes - 1) & -ClusterBytes)
            .U32(image.BitmapsExtension, Bitmaps)
            .U64(image.BitmapsExtension + 8, Bitmaps * 32)
            .U64(image.BitmapsExtension + 16, (ulong)directory);
        for (int i = 0; i < Bitmaps; i++)
        {
            int entry = directory + (i * 32);
            // The last one has no type that is known.
            image.U64(entry, (ulong)table).U32(entry + Patched.TableSize, Entries).U32(entry + Patched.Flags, 2)
                .U8(entry + Patched.Type, (byte)(i == Bitmaps - 1 ? 9 : 1)).U8(entry + Patched.Granularity, 9)
                .U16(entry + Patched.NameSize, 8).Put(entry + 24, System.Text.Encoding.ASCII.GetBytes($"{i:x8}"));
        }

        for (int cluster = 0; cluster < (end + ClusterBytes - 1) / ClusterBytes; cluster++)
        {
            image.U16((2 * ClusterBytes) + (2 * cluster), 1);
        }

        int clusters = liesBehindEnd ? 1 << 20 : directory / ClusterBytes;
        for (int i = 0; i < Entries; i += 2)
        {
            image.U64(table + (i * 8), (ulong)((liesBehindEnd ? 1 << 20 : 0) + 1 + (i % (clusters - 1))) * ClusterBytes);
        }

        await using var storage = new CountingStorage(new MemoryStorage(image.Bytes));
        await using Qcow2Image opened = await Qcow2Image.OpenForCheckAsync(storage, cancellationToken: Token);
        int thread = Environment.CurrentManagedThreadId;
        long before = GC.GetAllocatedBytesForCurrentThread();
        Exception? error = await Record.ExceptionAsync(async () => await opened.RepairAsync(RepairKinds.Bitmaps, Token));

        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        Assert.InRange(Environment.CurrentManagedThreadId == thread ? allocated : 0, 0, (liesBehindEnd ? 40L : 20L) * MaxAllocatedBytes);
        Assert.InRange(storage.BytesRead, 0, 10L * MaxAllocatedBytes);
        Assert.InRange(storage.Writes.Sum(static write => (long)write.Length), 0, MaxAllocatedBytes);
        Assert.Equal(kind == "cut short" ? typeof(Qcow2FormatException) : null, error?.GetType());
    }

    private static BitmapEdit Steps(BitmapEdit edit, string kind) => kind switch
    {
        "add" => edit.Add("new", 1 << 30),
        "remove all" => edit.RemoveAll(),
        _ => edit.Remove("00000007"),
    };

    private static string FirstOf(Qcow2Image image) => image.Bitmaps.Count > 0 ? image.Bitmaps[0].Name : "none";

    /// <summary>Removes bitmap "a": the bits of "b" and the guest's tables and data stay.</summary>
    private static async Task AssertRemovalKeepsTheRestAsync(byte[] bytes)
    {
        (List<string> bits, GuestContent guest) = await ReadAsync(bytes);
        await EditAsync(bytes, Strictness.AsQemu, static (edit, _) => edit.Remove("a"), async after =>
        {
            (List<string> bitsAfter, GuestContent guestAfter) = await ReadAsync(after);
            Assert.Equal(bits[1..], bitsAfter);
            Assert.True(guest.IsSameAs(guestAfter), "The guest's tables or data have changed");
        });
    }

    private static async Task<(List<string> Bits, GuestContent Guest)> ReadAsync(byte[] bytes)
    {
        await using Qcow2Image image = await TestImage.OpenAsync(bytes);
        var bits = new List<string>();
        foreach (BitmapInfo bitmap in image.Bitmaps)
        {
            DirtyBitmap loaded = await image.Bitmaps.LoadAsync(bitmap, cancellationToken: Token);
            bits.Add($"{bitmap.Name}: {Convert.ToHexString(loaded.Sha256())}");
        }

        return (bits, GuestContent.Of(bytes, image));
    }

    /// <summary>Edits an image. If that is refused nothing was written; else the image opens again.</summary>
    private static async Task EditAsync(
        byte[] bytes, Strictness strictness, Action<BitmapEdit, Qcow2Image> build, Func<byte[], Task>? onSuccess = null)
    {
        var storage = new MemoryStorage(bytes);
        var options = new Qcow2OpenOptions { Strictness = strictness };
        var clock = Stopwatch.StartNew();
        int thread = Environment.CurrentManagedThreadId;
        long before = GC.GetAllocatedBytesForCurrentThread();
        Qcow2Image image;
        try
        {
            image = await Qcow2Image.OpenAsync(storage, options, leaveOpen: true, cancellationToken: Token);
        }
        catch (Qcow2Exception)
        {
            return;
        }

        var edit = new BitmapEdit();
        build(edit, image);

        Exception? error = await Record.ExceptionAsync(async () => await image.Bitmaps.EditAsync(edit, Token));
        long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
        // What another thread has gone on with cannot be measured.
        Assert.InRange(Environment.CurrentManagedThreadId == thread ? allocated : 0, 0, MaxAllocatedBytes + (256L * bytes.Length));
        await image.DisposeAsync();
        Assert.True(clock.Elapsed < Patience.Limit, $"took {clock.Elapsed}");
        if (error is not null)
        {
            Assert.True(error is IOException, error.ToString());
            Assert.True(bytes.AsSpan().SequenceEqual(storage.ToArray()), $"Refused, and written: {error.Message}");
            return;
        }

        await using Qcow2Image reopened = await Qcow2Image.OpenAsync(storage, options, leaveOpen: true, cancellationToken: Token);
        await (onSuccess?.Invoke(storage.ToArray()) ?? Task.CompletedTask);
    }
}
