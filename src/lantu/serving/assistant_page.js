const get=id=>document.getElementById(id),rows=get('rows'),why=get('why'),record=get('record');
const cell=(row,text,kind)=>{const c=row.insertCell();c.textContent=text;if(kind)c.className=kind};
let recorder=null,total=0;
function show(step){
  if(step.error){why.textContent=step.error;return}
  const row=rows.insertRow(),th=document.createElement('th');
  th.scope='row';th.textContent=step.stage;row.append(th);total+=step.seconds;
  cell(row,step.text);cell(row,step.confidence===null?'not known':step.confidence.toFixed(2),'n');
  cell(row,step.seconds.toFixed(2),'n');
  if(step.audio){const a=get('reply');a.src='data:audio/wav;base64,'+step.audio;a.hidden=false;a.play().catch(()=>{})}
}
async function send(sound,type){
  why.textContent='';rows.replaceChildren();get('reply').hidden=true;total=0;
  get('state').textContent='Listening to it …';
  try{
    const reply=await fetch('answer',{method:'POST',headers:{'Content-Type':type},body:sound});
    if(!reply.ok){why.textContent=(await reply.json()).error;return}
    const reader=reply.body.pipeThrough(new TextDecoderStream()).getReader();let rest='';
    for(;;){const {done,value}=await reader.read();if(done)break;
      const lines=(rest+value).split('\n');rest=lines.pop();for(const line of lines)show(JSON.parse(line))}
  }catch(error){why.textContent='No answer: '+error.message}
  finally{get('state').textContent=rows.rows.length?total.toFixed(2)+' seconds in all':''}
}
function wav(buffer){  // 16 bits, the mean of all channels
  const n=buffer.length,view=new DataView(new ArrayBuffer(44+2*n));
  const text=(at,s)=>[...s].forEach((c,i)=>view.setUint8(at+i,c.charCodeAt(0)));
  text(0,'RIFF');view.setUint32(4,36+2*n,true);text(8,'WAVEfmt ');view.setUint32(16,16,true);view.setUint16(20,1,true);
  view.setUint16(22,1,true);view.setUint32(24,buffer.sampleRate,true);view.setUint32(28,2*buffer.sampleRate,true);
  view.setUint16(32,2,true);view.setUint16(34,16,true);text(36,'data');view.setUint32(40,2*n,true);
  const channels=[...Array(buffer.numberOfChannels).keys()].map(c=>buffer.getChannelData(c));
  for(let i=0;i<n;i++){let sum=0;for(const c of channels)sum+=c[i];
    view.setInt16(44+2*i,Math.round(32767*Math.max(-1,Math.min(1,sum/channels.length))),true)}
  return view.buffer;
}
record.addEventListener('click',async()=>{
  if(recorder){recorder.stop();return}
  let microphone;
  try{microphone=await navigator.mediaDevices.getUserMedia({audio:true})}
  catch(error){why.textContent='No microphone: '+error.message;return}
  const parts=[];recorder=new MediaRecorder(microphone);
  recorder.ondataavailable=event=>parts.push(event.data);
  recorder.onstop=async()=>{
    for(const track of microphone.getTracks())track.stop();
    recorder=null;record.setAttribute('aria-pressed','false');record.textContent='Record';
    const heard=await new Blob(parts).arrayBuffer();
    send(wav(await new AudioContext().decodeAudioData(heard)),'audio/wav');
  };
  recorder.start();record.setAttribute('aria-pressed','true');record.textContent='Stop';why.textContent='';
});
get('file').addEventListener('change',event=>{
  const file=event.target.files[0];
  if(file)send(file,file.type.startsWith('audio/')?file.type:'application/octet-stream')
});
